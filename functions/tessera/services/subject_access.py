"""Everything that is stored of a person, with where each piece came from, page by page.

What was deleted and is not reclaimed yet is shown too, marked so: it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.configuration import Configuration
from tessera.domain.errors import EntityNotFoundError
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.merge import is_deleted
from tessera.domain.profile import Event, EventStream, RecordFragment
from tessera.domain.tenant import Tenant
from tessera.services.lease import Configurations
from tessera.storage.profile_table import StoredPage

# What is read at once, and how much of it an answer has room for.
_ITEMS_PER_READ = 200

Item = RecordFragment | EventStream | Event


class SubjectStore(Protocol):
    """What subject access needs of the profile table."""

    def heads(self, tenant: Tenant, xids: list[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def stored(self, tenant: Tenant, xid: Xid, *, after: str | None, limit: int) -> StoredPage:
        """Read what is stored of an identity in order."""


class Batches(Protocol):
    """The records of batches."""

    def each(self, tenant: Tenant) -> Iterator[Batch]:
        """Walk them."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: with an identity, behind an item of it if one is given."""

    xid: Xid
    sort: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Something that is stored, where it stands, and whether a delete has reached it already."""

    at: Position
    item: Item
    deleted: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """The person: the heads of all identities by XID, the one asked for first."""

    tenant: Tenant
    configuration: Configuration
    heads: Mapping[Xid, Head]


class SubjectAccess:
    """Reads everything of a person."""

    def __init__(self, configurations: Configurations, store: SubjectStore, batches: Batches) -> None:
        self._configurations = configurations
        self._store = store
        self._batches = batches

    def subject(self, tenant: Tenant, xid: Xid) -> Subject:
        """Find the person of an identity; of a graph that has collapsed, the identity alone.

        Raises EntityNotFoundError.
        """
        asked = self._store.heads(tenant, [xid])
        if xid not in asked:
            raise EntityNotFoundError
        others = self._store.heads(tenant, list(asked[xid].members)) if asked[xid].members else {}
        members = {other: others[other] for other in sorted(others)}
        return Subject(tenant, self._configurations.current(tenant), {**asked, **members})

    def pieces(self, subject: Subject, start: Position | None) -> Iterator[Piece]:
        """Walk everything stored of a person in order, from a position on."""
        begun = start is None
        for xid, head in subject.heads.items():
            after = None
            if not begun:
                if start is None or xid != start.xid:
                    continue
                begun, after = True, start.sort
            yield from self._of(subject, head, after)

    def exports(self, tenant: Tenant) -> list[tuple[str, str]]:
        """List the exports that datasets show, dataset and batch: each may have the person."""
        return [
            (batch.dataset_id, batch.id)
            for batch in self._batches.each(tenant)
            if batch.export_job and batch.status is BatchStatus.SUCCESS
        ]

    def _of(self, subject: Subject, head: Head, after: str | None) -> Iterator[Piece]:
        while True:
            page = self._store.stored(subject.tenant, head.xid, after=after, limit=_ITEMS_PER_READ)
            for sort, item in page.items:
                deleted = is_deleted(item.place, item.dataset_id, head, subject.configuration)
                yield Piece(Position(head.xid, sort), item, deleted)
            if page.last is None:
                return
            after = page.last
