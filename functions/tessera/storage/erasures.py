"""Where erasures of persons are kept, what they found, and who is held.

| partition | sort | holds |
|---|---|---|
| ``<tenant>#job`` | ULID | an erasure, among the other jobs |
| ``<tenant>#erasure#<job>`` | ``batch#<dataset>#<batch>`` | a batch that brought something of the persons |
| | ``window#<dataset>#<start>`` | a window of streamed messages that did |
| | ``export#<batch>`` | an export that has rows of them |
| | ``look#<number>`` | what a reading of the lake found |
| ``<tenant>#hold`` | XID | who held an identity, and who lifted that |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tessera.domain.erasure import ERASURE, Erasure, HoldingExport, Look, Source
from tessera.domain.errors import NotFoundError
from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage.jobs import partition as jobs_of
from tessera.storage.registry import Registry

_TRANSACTION = 100
_WINDOW_DIGITS = 15
_LOOK_DIGITS = 3


class ErasureStore:
    """Reads and changes erasures, and notes what they found."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def add(self, tenant: Tenant, erasure: Erasure) -> None:
        """Write a new erasure."""
        self._registry.change_all([(jobs_of(tenant), erasure.id)], _unless_there([erasure.to_document()]))

    def get(self, tenant: Tenant, job_id: str) -> Erasure:
        """Read an erasure.

        Raises NotFoundError.
        """
        document = self._registry.get(jobs_of(tenant), job_id)
        if document is None or document["kind"] != ERASURE:
            raise _not_found(job_id)
        return Erasure.from_document(document)

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[Erasure], Erasure]) -> Erasure:
        """Change an erasure atomically and return it; ``mutate`` may run several times.

        Raises NotFoundError.
        """
        changed = self._registry.change(
            jobs_of(tenant), job_id, lambda document: mutate(Erasure.from_document(document)).to_document()
        )
        if changed is None:
            raise _not_found(job_id)
        return Erasure.from_document(changed)

    def note_sources(self, tenant: Tenant, job_id: str, sources: Iterable[Source]) -> None:
        """Note what brought something of the persons."""
        notes = {
            _sort(source): {"dataset": source.dataset_id, "batch": source.batch_id, "window": source.window_ms}
            for source in sources
        }
        self._note(tenant, job_id, notes)

    def sources(self, tenant: Tenant, job_id: str) -> list[Source]:
        """Read what brought something of the persons."""
        return [
            Source(document["dataset"], document["batch"], document["window"])
            for sort, document in self._registry.each(_found(tenant, job_id))
            if sort.startswith(("batch#", "window#"))
        ]

    def note_export(self, tenant: Tenant, job_id: str, export: HoldingExport) -> None:
        """Note an export that has rows of the persons, or may have."""
        document = {"dataset": export.dataset_id, "batch": export.batch_id, "certain": export.certain}
        self._note(tenant, job_id, {f"export#{export.batch_id}": document})

    def exports(self, tenant: Tenant, job_id: str) -> list[HoldingExport]:
        """Read which exports have rows of the persons, or may have."""
        return [
            HoldingExport(document["dataset"], document["batch"], document["certain"])
            for sort, document in self._registry.each(_found(tenant, job_id))
            if sort.startswith("export#")
        ]

    def note_look(self, tenant: Tenant, job_id: str, look: Look) -> None:
        """Note what a reading of the lake found, unless that is noted already."""
        self._note(tenant, job_id, {f"look#{look.number:0{_LOOK_DIGITS}d}": look.to_document()})

    def looks(self, tenant: Tenant, job_id: str) -> list[Look]:
        """Read what the readings of the lake found, in their order."""
        return [
            Look.from_document(document)
            for sort, document in self._registry.each(_found(tenant, job_id))
            if sort.startswith("look#")
        ]

    def _note(self, tenant: Tenant, job_id: str, notes: Mapping[str, Any]) -> None:
        partition = _found(tenant, job_id)
        for start in range(0, len(notes), _TRANSACTION):
            sorts = sorted(notes)[start : start + _TRANSACTION]
            self._registry.change_all(
                [(partition, sort) for sort in sorts], _unless_there([notes[one] for one in sorts])
            )


class HoldRegister:
    """Who held which identity, and who lifted that. Whether it is held now stands on its head."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def note(self, tenant: Tenant, xids: Iterable[Xid], action: str, at_ms: int, caller: str, job_id: str = "") -> None:
        """Note that something is done, before it is: a crash in between leaves an intention, never a silent change."""
        entry = {"action": action, "at": at_ms, "clientId": caller, **({"jobId": job_id} if job_id else {})}
        for xid in xids:
            self._add(tenant, xid, entry)

    def _add(self, tenant: Tenant, xid: Xid, entry: Mapping[str, Any]) -> None:
        def added(known: Sequence[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
            history = known[0]["history"] if known[0] else []
            return [None] if entry in history else [{"history": [*history, entry]}]

        self._registry.change_all([(_holds(tenant), xid)], added)

    def history(self, tenant: Tenant, xid: Xid) -> list[dict[str, Any]]:
        """Read what was done about one identity, oldest first."""
        document = self._registry.get(_holds(tenant), xid)
        return [] if document is None else list(document["history"])

    def each(self, tenant: Tenant, after: str | None) -> Iterator[tuple[Xid, list[dict[str, Any]]]]:
        """Walk all identities that were ever held in order, starting behind one."""
        for sort, document in self._registry.each(_holds(tenant), after=after):
            yield Xid(sort), document["history"]


def _unless_there(
    documents: Sequence[Mapping[str, Any]],
) -> Callable[[Sequence[dict[str, Any] | None]], list[Mapping[str, Any] | None]]:
    return lambda known: [None if before else one for before, one in zip(known, documents, strict=True)]


def _sort(source: Source) -> str:
    if source.batch_id:
        return f"batch#{source.dataset_id}#{source.batch_id}"
    return f"window#{source.dataset_id}#{source.window_ms:0{_WINDOW_DIGITS}d}"


def _found(tenant: Tenant, job_id: str) -> str:
    return f"{tenant.key}#erasure#{job_id}"


def _holds(tenant: Tenant) -> str:
    return f"{tenant.key}#hold"


def _not_found(job_id: str) -> NotFoundError:
    return NotFoundError(f"Erasure {job_id[:64]} does not exist in this sandbox")
