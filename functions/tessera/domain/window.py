"""Windows: the spans of time by which the rows that were streamed to a dataset are gathered into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from tessera.domain.place import Place, accepted_ms
from tessera.domain.tenant import Tenant, digest
from tessera.domain.ulid import ulid

# A window waits this part of its length for messages that take a while to be processed.
_GRACE = 15


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of a dataset that were accepted within a span; ``start_ms`` is where it begins."""

    tenant: Tenant
    dataset_id: str
    start_ms: int

    @classmethod
    def of(cls, tenant: Tenant, dataset_id: str, place: Place, length_ms: int) -> Self:
        """Return the window to which a row belongs by its place alone."""
        return cls(tenant, dataset_id, accepted_ms(place) // length_ms * length_ms)

    def batch_id(self, round_: int, kind: str, part: int = 0) -> str:
        """Return the id of the batch that a round of closing makes of rows of a kind, or of a ``part`` of many."""
        parts = (self.tenant.key, self.dataset_id, str(round_), kind, *([str(part)] if part else []))
        return ulid(self.start_ms, int.from_bytes(digest(10, b"tessera.window", *parts), "big"))


@dataclass(frozen=True, slots=True)
class WindowState:
    """Whether rows that are staged now will be gathered.

    What comes after a window was closed is gathered in another ``round``, the next number. An open one closes no
    earlier than ``closes_ms``.
    """

    round: int
    open: bool
    closes_ms: int

    def closed(self) -> Self:
        """Return it closed."""
        return replace(self, open=False)


@dataclass(frozen=True, slots=True)
class Closing:
    """A round of a window that is to be closed."""

    window: Window
    round: int

    def to_document(self) -> dict[str, Any]:
        """Write it as the JSON document that is queued."""
        return {
            "tenant": [self.window.tenant.org_id, self.window.tenant.sandbox],
            "dataset": self.window.dataset_id,
            "start": self.window.start_ms,
            "round": self.round,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read it from its queued document."""
        window = Window(Tenant(*document["tenant"]), document["dataset"], document["start"])
        return cls(window, document["round"])


def may_be_gathered(place: Place, now_ms: int, length_ms: int) -> bool:
    """Tell whether a window that has a row can have been closed by now."""
    return now_ms >= accepted_ms(place) + length_ms // _GRACE


def opened(window: Window, before: WindowState | None, now_ms: int, length_ms: int) -> WindowState:
    """Return the state of a window that is opened: for the first time, or again for rows that are late."""
    if before is None:
        return WindowState(0, True, max(window.start_ms + length_ms, now_ms) + length_ms // _GRACE)
    return WindowState(before.round + 1, True, now_ms + length_ms)
