"""What erasing persons needs of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from tessera.domain.erasure import Erasure, HoldingExport, Look, Source
from tessera.domain.erasure_list import Entry
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.tenant import Tenant
from tessera.storage.erasure_lake import Line


class Heads(Protocol):
    """Where heads are read and written."""

    def heads(self, tenant: Tenant, xids: Iterable[Xid]) -> dict[Xid, Head]:
        """Read the heads that exist."""

    def replace_heads(self, tenant: Tenant, changed: Iterable[Head], unchanged: Iterable[Head]) -> None:
        """Write heads in one transaction or raise LostRaceError."""


class Erasures(Protocol):
    """Where erasures are kept, and what they found: ``storage.erasures.ErasureStore``."""

    def add(self, tenant: Tenant, erasure: Erasure) -> None:
        """Write a new one."""

    def get(self, tenant: Tenant, job_id: str) -> Erasure:
        """Read one or raise NotFoundError."""

    def change(self, tenant: Tenant, job_id: str, mutate: Callable[[Erasure], Erasure]) -> Erasure:
        """Change one atomically or raise NotFoundError."""

    def note_sources(self, tenant: Tenant, job_id: str, sources: Iterable[Source]) -> None:
        """Note what brought something of the persons."""

    def sources(self, tenant: Tenant, job_id: str) -> list[Source]:
        """Read what brought something of the persons."""

    def note_export(self, tenant: Tenant, job_id: str, export: HoldingExport) -> None:
        """Note an export that has rows of the persons, or may have."""

    def exports(self, tenant: Tenant, job_id: str) -> list[HoldingExport]:
        """Read which exports have rows of the persons, or may have."""

    def looks(self, tenant: Tenant, job_id: str) -> list[Look]:
        """Read what the readings of the lake found, in their order."""


class Lists(Protocol):
    """Where lists of persons are: ``storage.erasure_lake.ErasureLake``."""

    def write_list(self, tenant: Tenant, job_id: str, part: int, entries: Sequence[Entry]) -> None:
        """Write the identities of a part."""

    def listed(self, tenant: Tenant, job_id: str, part: int) -> list[Entry]:
        """Read the identities of a part."""

    def forget_lists(self, tenant: Tenant, job_id: str) -> None:
        """Delete the identities of all parts for good."""

    def write_reached(self, tenant: Tenant, job_id: str, part: int, xids: Sequence[Xid]) -> None:
        """Write whom a part reaches."""

    def reached(self, tenant: Tenant, job_id: str, part: int) -> list[Xid]:
        """Read whom a part reaches."""

    def write_unseen(self, tenant: Tenant, job_id: str, part: int, xids: Sequence[Xid]) -> None:
        """Write of whom of a part the profile store knows nothing."""

    def write_lines(self, tenant: Tenant, job_id: str, part: int, lines: Sequence[Line]) -> None:
        """Write what became of the lines of a part."""

    def lines(self, tenant: Tenant, job_id: str, part: int) -> list[Line]:
        """Read what became of the lines of a part, or raise NotFoundError."""


class Register(Protocol):
    """Who held whom: ``storage.erasures.HoldRegister``."""

    def note(self, tenant: Tenant, xids: Iterable[Xid], action: str, at_ms: int, caller: str, job_id: str = "") -> None:
        """Note that something is done, before it is."""

    def history(self, tenant: Tenant, xid: Xid) -> list[dict[str, Any]]:
        """Read what was done about one identity, oldest first."""

    def each(self, tenant: Tenant, after: str | None) -> Iterator[tuple[Xid, list[dict[str, Any]]]]:
        """Walk all identities that were ever held in order, starting behind one."""
