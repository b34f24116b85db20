"""Profiles as the API shows them (contract: profile-api §2.3, §2.4, §2.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tessera.domain import explain
from tessera.domain.errors import EntityNotFoundError, TesseraError
from tessera.domain.fields import Selection, select, selects
from tessera.domain.identity import Xid
from tessera.domain.times import iso_seconds
from tessera.services.profile_reader import Person


def profile(person: Person, fields: Selection | None, *, explained: bool = False) -> dict[str, Any]:
    """Write a profile; ``explained`` adds where each value comes from, and changes nothing else."""
    merged = person.entity(computed=selects(fields, person.computed_at))
    document = _document(person, merged, fields)
    if explained:
        computed_at = person.computed_at if person.configuration.attributes else ()
        leaves = explain.explain(merged, person.fragments, person.policy, computed_at)
        identities = {xid: member.head.identity for xid, member in person.members.items()}
        document["explain"] = explain.document((leaf for leaf in leaves if selects(fields, leaf.path)), identities)
    return document


def profiles(
    found: Mapping[Xid, Person | TesseraError], fields: Selection | None
) -> Iterator[tuple[Xid, dict[str, Any]]]:
    """Write the profiles of many identities, and what stands for those that were not found.

    Identities of the same person come one after the other: it is merged once, and no other is held meanwhile.
    """
    same: dict[frozenset[Xid], list[Person]] = {}
    for xid, person in found.items():
        if isinstance(person, Person):
            same.setdefault(frozenset(person.members), []).append(person)
        elif isinstance(person, EntityNotFoundError):
            yield xid, placeholder(xid)
    for persons in same.values():
        merged = persons[0].entity(computed=selects(fields, persons[0].computed_at))
        for person in persons:
            yield person.xid, _document(person, merged, fields)


def placeholder(xid: Xid) -> dict[str, Any]:
    """Write what stands for an identity that nothing is stored of, in an answer about several."""
    return {"entityId": xid, "sources": [""], "entity": {}, "lastModifiedAt": "1970-01-01T00:00:00Z"}


def _document(person: Person, merged: dict[str, Any], fields: Selection | None) -> dict[str, Any]:
    return {
        "entityId": person.xid,
        "mergePolicy": {"id": person.policy.id},
        "sources": person.sources,
        "tags": person.tags,
        "identityGraph": person.graph,
        "entity": merged if fields is None else select(_with_identities(merged, person, fields), fields),
        "lastModifiedAt": iso_seconds(person.last_modified_ms),
    }


def _with_identities(merged: dict[str, Any], person: Person, fields: Selection) -> dict[str, Any]:
    """Add the older view of the identities if it is asked for: the one looked up is marked as primary."""
    if "identities" not in fields:
        return merged
    identities = [
        {
            "id": member.head.identity.value,
            "namespace": {"code": member.head.identity.namespace},
            **({"primary": True} if xid == person.xid else {}),
        }
        for xid, member in person.members.items()
    ]
    return {**merged, "identities": identities}
