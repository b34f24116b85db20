"""Where each value of a profile comes from: every leaf with all its candidates, best first.

The winner of each leaf is its first candidate, so the entity can be put together again from the explanation alone.
A leaf is what merging takes as a whole: a scalar, an array, an empty object, the identities of one namespace, one
segment's membership. It is named by its dotted path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.domain.fields import dotted
from tessera.domain.identity import Identity, Xid
from tessera.domain.merge import qualified_ms
from tessera.domain.merge_policy import MergePolicy
from tessera.domain.place import Place, accepted_ms, batch_id_of
from tessera.domain.profile import RecordFragment
from tessera.domain.times import iso_ms
from tessera.domain.upsert import UpdatedFragment

BY_GRAPH = "identityGraph"
BY_QUALIFICATION = "lastQualificationTime"
BY_COMPUTATION = "computed"

Path = tuple[str, ...]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a fragment offers for a leaf, and the place of the row that wrote it.

    ``fragment`` and ``place`` are ``None`` for what no fragment gives.
    """

    value: Any
    fragment: RecordFragment | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class _Offerer:
    """A fragment decoded once: every leaf is looked for in every one."""

    fragment: RecordFragment
    body: Mapping[str, Any]
    updates: UpdatedFragment | None

    def has(self, path: Path) -> bool:
        return _at(self.body, path) is not _ABSENT

    def offer(self, path: Path) -> Candidate:
        place = self.fragment.place if self.updates is None else self.updates.place_of(path)
        return Candidate(_at(self.body, path), self.fragment, place)


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
    offerers = [_Offerer(fragment, fragment.body, fragment.updates) for fragment in fragments]
    for name, value in entity.items():
        if name == "identityMap":
            for namespace, identities in value.items():
                yield Leaf((name, namespace), identities, BY_GRAPH, [Candidate(identities)])
        elif name == "segmentMembership":
            yield from _memberships(name, value, offerers)
        else:
            for path, leaf in _leaves((name,), value):
                if computed_at and path[: len(computed_at)] == computed_at:
                    yield Leaf(path, leaf, BY_COMPUTATION, [Candidate(leaf)])
                else:
                    yield Leaf(path, leaf, policy.attribute_merge.value, _offers(path, offerers))


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


def _candidate(candidate: Candidate, identities: Mapping[Xid, Identity]) -> dict[str, Any]:
    shown: dict[str, Any] = {"value": candidate.value}
    fragment, place = candidate.fragment, candidate.place
    if fragment is not None and place is not None:
        identity = identities[fragment.xid]
        shown |= {
            "datasetId": fragment.dataset_id,
            "batchId": batch_id_of(place),
            "identity": {"id": identity.value, "namespace": {"code": identity.namespace}},
            "ingestedAt": iso_ms(accepted_ms(place)),
        }
        if place != fragment.place:
            shown["lastModifiedAt"] = iso_ms(fragment.ingested_ms)
        if fragment.custom_date_ms is not None:
            shown["customDate"] = iso_ms(fragment.custom_date_ms)
    return shown


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, name), inner)
    else:
        yield path, value


def _offers(path: Path, offerers: Sequence[_Offerer]) -> list[Candidate]:
    """List what fragments have at a leaf, in order of rank.

    The winner comes first: a fragment that ranks higher and has nothing but an object or another branch there does
    not offer a value for the leaf.
    """
    offers = [one.offer(path) for one in offerers if one.has(path)]
    first = next(i for i, offer in enumerate(offers) if not (isinstance(offer.value, dict) and offer.value))
    return [offers[first], *offers[:first], *offers[first + 1 :]]


def _at(body: Mapping[str, Any], path: Path) -> Any:
    value: Any = body
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _memberships(name: str, value: Mapping[str, Any], offerers: Sequence[_Offerer]) -> Iterator[Leaf]:
    for namespace, segments in value.items():
        for segment_id, membership in segments.items():
            path = (name, namespace, segment_id)
            # A stable sort: of two that qualified at the same time the better ranked one stays first.
            offers = sorted(
                (one.offer(path) for one in offerers if one.has(path)),
                key=lambda candidate: -qualified_ms(candidate.value),
            )
            yield Leaf(path, membership, BY_QUALIFICATION, offers)
