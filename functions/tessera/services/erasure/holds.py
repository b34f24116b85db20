"""Who is held: rows that name them are refused until the hold is lifted (docs/decisions/0150)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tessera.domain.errors import NotFoundError
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import Place, accepted_ms
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.deletion import Journal
from tessera.services.erasure.cutting import Cutter
from tessera.services.erasure.ports import Heads, Register

LIFTED = "lifted"
LIFT = "lift"


@dataclass(frozen=True, slots=True)
class Hold:
    """An identity that is or was held, and what was done about that, oldest first."""

    head: Head
    history: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Identities that are held, and the cursor of those behind them, ``None`` at the end."""

    holds: list[Hold]
    next: str | None


class Holds:
    """Shows and lifts holds. ``clock_ms`` is milliseconds since 1970."""

    def __init__(
        self,
        store: Heads,
        register: Register,
        journal: Journal,
        cutter: Cutter,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._register = register
        self._journal = journal
        self._cutter = cutter
        self._clock_ms = clock_ms

    def of(self, tenant: Tenant, xid: Xid) -> Hold:
        """Look up whether an identity is held, and what was done about it.

        Raises NotFoundError when it never was.
        """
        head = self._store.heads(tenant, [xid]).get(xid)
        if head is None or not head.holds:
            raise _never()
        return Hold(head, self._register.history(tenant, xid))

    def page(self, tenant: Tenant, after: str | None, limit: int) -> HoldPage:
        """List who is held now, in order of XIDs behind one; of at most ``limit`` who ever were, so it may be fewer."""
        noted = list(islice(self._register.each(tenant, after), limit + 1))
        shown = dict(noted[:limit])
        heads = self._store.heads(tenant, shown)
        holds = [Hold(heads[xid], history) for xid, history in shown.items() if xid in heads and heads[xid].held]
        return HoldPage(holds, noted[limit - 1][0] if len(noted) > limit else None)

    def lift(self, tenant: Tenant, xid: Xid, caller: str) -> Hold:
        """Let rows be taken again of the person of an identity, from now on; repeatable.

        What was accepted until then stays away. Raises NotFoundError when the identity never was held.
        """
        head = self._store.heads(tenant, [xid]).get(xid)
        if head is None or not head.holds:
            raise _never()
        now_ms = self._clock_ms()

        def change(held: Head, place: Place) -> Head:
            return held.lifting(place)

        members = self._store.heads(tenant, head.graph).values()
        if held := sorted(one.xid for one in members if one.held):
            self._register.note(tenant, held, LIFTED, now_ms, caller)
            self._cutter.wait(self._cutter.cut(tenant, head, change).until_ms)
        # Also when there was nothing to lift: the call that did may have died before it was noted.
        self._note(tenant, head, now_ms, caller)
        return self.of(tenant, xid)

    def _note(self, tenant: Tenant, head: Head, now_ms: int, caller: str) -> None:
        """Note in the journal up to which places the holds of a person were."""
        members = self._store.heads(tenant, head.graph).values()
        ends = {one.xid: one.holds[-1].until for one in members if one.holds}
        lifted = {xid: until for xid, until in ends.items() if until is not None}
        if lifted:
            at_ms = accepted_ms(max(lifted.values()))
            entry = {"kind": LIFT, "caller": caller, "asked": now_ms, "lifted": lifted, "at": at_ms}
            self._journal.note(tenant, f"{ulid(at_ms, 0)}-{min(lifted)}", entry)


def _never() -> NotFoundError:
    return NotFoundError("This identity is not held and never was")
