"""Where each value of a profile comes from: every leaf with all its candidates, best first.

The winner of each leaf is its first candidate, so the entity can be put together again from the explanation alone.
A leaf is what merging takes as a whole: a scalar, an array, an empty object, the identities of one namespace, one
segment's membership. It is named by its dotted path; a dot or a backslash within a key is escaped by a backslash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.domain.identity import Identity, Xid
from tessera.domain.merge import qualified_ms
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import batch_id_of
from tessera.domain.profile import RecordFragment
from tessera.domain.times import iso_ms

BY_GRAPH = "identityGraph"
BY_QUALIFICATION = "lastQualificationTime"
BY_COMPUTATION = "computed"

Path = tuple[str, ...]
Bodies = Sequence[tuple[RecordFragment, Mapping[str, Any]]]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a fragment offers for a leaf; ``fragment`` is ``None`` for what no fragment gives."""

    value: Any
    fragment: RecordFragment | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of an entity: its value, the rule that chose it and its candidates, the winner first."""

    path: Path
    value: Any
    rule: str
    candidates: Sequence[Candidate]


def explain(
    entity: Mapping[str, Any], fragments: Sequence[RecordFragment], policy: MergePolicy, computed_at: Path = ()
) -> Iterator[Leaf]:
    """Explain a merged entity by the fragments it was merged from, given best first.

    What stands under ``computed_at`` was computed of events.
    """
    # Decoded once: every leaf is looked for in every body.
    bodies = [(fragment, fragment.body) for fragment in fragments]
    for name, value in entity.items():
        if name == "identityMap":
            for namespace, identities in value.items():
                yield Leaf((name, namespace), identities, BY_GRAPH, [Candidate(identities)])
        elif name == "segmentMembership":
            yield from _memberships(name, value, bodies)
        else:
            for path, leaf in _leaves((name,), value):
                if computed_at and path[: len(computed_at)] == computed_at:
                    yield Leaf(path, leaf, BY_COMPUTATION, [Candidate(leaf)])
                else:
                    yield Leaf(path, leaf, policy.attribute_merge.value, _offers(path, bodies))


def document(leaves: Iterator[Leaf], identities: Mapping[Xid, Identity]) -> dict[str, Any]:
    """Write an explanation as the API shows it."""
    return {
        dotted(leaf.path): {
            "value": leaf.value,
            "rule": leaf.rule,
            "candidates": [_candidate(candidate, identities) for candidate in leaf.candidates],
        }
        for leaf in leaves
    }


def dotted(path: Path) -> str:
    """Write a path with dots between its names."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def _candidate(candidate: Candidate, identities: Mapping[Xid, Identity]) -> dict[str, Any]:
    shown: dict[str, Any] = {"value": candidate.value}
    fragment = candidate.fragment
    if fragment is not None:
        identity = identities[fragment.xid]
        shown |= {
            "datasetId": fragment.dataset_id,
            "batchId": batch_id_of(fragment.place),
            "identity": {"id": identity.value, "namespace": {"code": identity.namespace}},
            "ingestedAt": iso_ms(fragment.ingested_ms),
        }
        if fragment.custom_date_ms is not None:
            shown["customDate"] = iso_ms(fragment.custom_date_ms)
    return shown


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, name), inner)
    else:
        yield path, value


def _offers(path: Path, bodies: Bodies) -> list[Candidate]:
    """List what fragments have at a leaf, in order of rank.

    The winner comes first: a fragment that ranks higher and has nothing but an object or another branch there does
    not offer a value for the leaf.
    """
    offers = [Candidate(value, fragment) for fragment, body in bodies if (value := _at(body, path)) is not _ABSENT]
    first = next(i for i, offer in enumerate(offers) if not (isinstance(offer.value, dict) and offer.value))
    return [offers[first], *offers[:first], *offers[first + 1 :]]


def _at(body: Mapping[str, Any], path: Path) -> Any:
    value: Any = body
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _memberships(name: str, value: Mapping[str, Any], bodies: Bodies) -> Iterator[Leaf]:
    for namespace, segments in value.items():
        for segment_id, membership in segments.items():
            path = (name, namespace, segment_id)
            # A stable sort: of two that qualified at the same time the better ranked one stays first.
            offers = sorted(
                (Candidate(found, fragment) for fragment, body in bodies if (found := _at(body, path)) is not _ABSENT),
                key=lambda candidate: -qualified_ms(candidate.value),
            )
            yield Leaf(path, membership, BY_QUALIFICATION, offers)
