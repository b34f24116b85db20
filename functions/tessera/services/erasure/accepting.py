"""Accepting erasures: from then on no read shows anything of the persons, whatever is still in flight (law 7).

The list is kept in the lake and worked through part by part. A short one is dealt with in the call; the machine does
the same later for a long one, and for one whose call died on the way. Doing a part again changes only the cutoff.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from tessera.domain.erasure import ERASURE, LINES_PER_PART, Erasure, Outcome
from tessera.domain.erasure_list import Entry
from tessera.domain.errors import NotFoundError
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.place import GRACE_MS, Place, cutoff_place
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import ulid
from tessera.services.deletion import Journal, Machine
from tessera.services.erasure.cutting import Cut, Cutter
from tessera.services.erasure.ports import Erasures, Heads, Lists, Register
from tessera.storage.erasure_lake import Line

HELD = "held"
ALONE = "its graph has collapsed, so who else belongs to the person is not known: name every identity"
UNSEEN_XID = "nothing is known of it; to hold it, name it by namespace and value"
# A function has ten minutes, and a part takes seconds.
WORKING_S = 7 * 60


@dataclass(slots=True)
class _Part:
    """What a part of a list comes to."""

    lines: list[Line] = field(default_factory=list)
    # One head of every person, by the graph it stands for.
    persons: dict[tuple[Xid, ...], Head] = field(default_factory=dict)
    # Of whom nothing is known here, and may be something in the lake.
    unseen: set[Xid] = field(default_factory=set)


class Acceptance:
    """Accepts erasures. ``clock_ms`` is milliseconds since 1970, ``clock`` counts seconds."""

    def __init__(
        self,
        store: Heads,
        erasures: Erasures,
        lists: Lists,
        register: Register,
        journal: Journal,
        executor: Executor,
        cutter: Cutter,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._erasures = erasures
        self._lists = lists
        self._register = register
        self._journal = journal
        self._executor = executor
        self._cutter = cutter
        self._clock_ms = clock_ms
        self._clock = clock

    def begin(
        self,
        tenant: Tenant,
        entries: Sequence[Entry],
        machine: Machine,
        *,
        hold: bool,
        caller: str,
        lake: bool = False,
    ) -> Erasure:
        """Take a list in; a list of one part is accepted when this returns, see ``Erasure.accepted_ms``.

        The machine is started before anything is cut off: whatever becomes of this call, what it began is ended.
        """
        now_ms = self._clock_ms()
        job_id = ulid(now_ms, secrets.randbits(80))
        parts = [entries[start : start + LINES_PER_PART] for start in range(0, len(entries), LINES_PER_PART)]
        list(
            self._executor.map(
                lambda number: self._lists.write_list(tenant, job_id, number, parts[number]), range(len(parts))
            )
        )
        erasure = Erasure(job_id, caller, now_ms, now_ms, hold, len(parts), lake=lake)
        self._erasures.add(tenant, erasure)
        machine.start(job_id, {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "job_id": job_id})
        return self.accept(tenant, job_id) if len(parts) == 1 else erasure

    def accept(self, tenant: Tenant, job_id: str) -> Erasure:
        """Accept the parts of an erasure that are not yet, as many as there is time for. Safe to repeat and to race.

        Raises NotFoundError.
        """
        started = self._clock()
        erasure = self._erasures.get(tenant, job_id)
        # Also if a worker before this one died with all parts done.
        until_ms = self._clock_ms() + GRACE_MS
        while erasure.accepted_parts < erasure.parts:
            if self._clock() - started > WORKING_S:
                return erasure
            number = erasure.accepted_parts
            try:
                entries = self._lists.listed(tenant, job_id, number)
            except NotFoundError:
                # Another worker has accepted everything, and forgotten who was named.
                erasure = self._erasures.get(tenant, job_id)
                if erasure.accepted_parts == number:
                    raise
                continue
            lines, cuts = self._cut_off(tenant, erasure, number, entries)
            until_ms = max([until_ms, *(cut.until_ms for cut in cuts)])
            reached = sorted({xid for cut in cuts for xid in cut.xids})
            self._lists.write_reached(tenant, job_id, number, reached)
            if reached:
                self._journal.note(tenant, f"{job_id}-{number:06d}", _entry(erasure, cuts))
            outcomes = [outcome for _, outcome, _ in lines]
            erasure = self._note(tenant, job_id, number, outcomes, len(reached))
        self._cutter.wait(until_ms)
        self._lists.forget_lists(tenant, job_id)
        return self._erasures.change(tenant, job_id, lambda known: known.accepted(self._clock_ms()))

    def fail(self, tenant: Tenant, job_id: str, reason: str) -> None:
        """Note that the machine gave up. Raises NotFoundError."""
        self._erasures.change(tenant, job_id, lambda known: known.failed(reason, self._clock_ms()))

    def _note(self, tenant: Tenant, job_id: str, part: int, outcomes: Sequence[Outcome], reached: int) -> Erasure:
        now_ms = self._clock_ms()
        return self._erasures.change(tenant, job_id, lambda known: known.accepting(part, outcomes, reached, now_ms))

    def _cut_off(
        self, tenant: Tenant, erasure: Erasure, number: int, entries: Sequence[Entry]
    ) -> tuple[Sequence[Line], list[Cut]]:
        """Cut off everyone whom a part is about; answers what became of its lines."""
        part = self._judged(tenant, erasure, entries)
        try:
            lines = self._lists.lines(tenant, erasure.id, number)
        except NotFoundError:
            # Before anything is done: whoever is held for the first time is known from then on.
            lines = part.lines
            if erasure.lake:
                self._lists.write_unseen(tenant, erasure.id, number, sorted(part.unseen))
            self._lists.write_lines(tenant, erasure.id, number, lines)

        def change(head: Head, place: Place) -> Head:
            erased = head.erasing(place)
            return erased.holding(place) if erasure.hold else erased

        def cut(head: Head) -> Cut:
            if not erasure.hold:
                return self._cutter.cut(tenant, head, change)
            while True:
                # Who is held is noted first, and the members may be others by the time they are.
                known = self._store.heads(tenant, [head.xid]).get(head.xid, head)
                self._register.note(tenant, known.graph, HELD, erasure.at_ms, erasure.caller, erasure.id)
                done = self._cutter.cut(tenant, head, change)
                if set(done.xids) <= set(known.graph):
                    return done

        return lines, list(self._executor.map(cut, part.persons.values()))

    def _judged(self, tenant: Tenant, erasure: Erasure, entries: Sequence[Entry]) -> _Part:
        """Tell what each line comes to, and whom the part is about, each person once."""
        named = {xid: one for one in entries if (xid := one.names(tenant)) is not None}
        heads = self._store.heads(tenant, sorted(named))
        part = _Part()
        for one in entries:
            xid = one.names(tenant)
            head = heads.get(xid) if xid is not None else None
            if xid is None:
                part.lines.append((one.line, Outcome.INVALID, one.reason))
            elif head is None:
                self._unseen(one, xid, part, hold=erasure.hold)
            else:
                outcome = Outcome.ALONE if head.collapsed else Outcome.ERASED
                part.lines.append((one.line, outcome, ALONE if head.collapsed else ""))
                part.persons.setdefault(head.graph, head)
        return part

    def _unseen(self, one: Entry, xid: Xid, part: _Part, *, hold: bool) -> None:
        """Deal with an identity that nothing is known of: to be held it needs a head."""
        if hold and one.identity is None:
            part.lines.append((one.line, Outcome.INVALID, UNSEEN_XID))
            return
        part.lines.append((one.line, Outcome.NOT_FOUND, ""))
        part.unseen.add(xid)
        if hold and one.identity is not None:
            part.persons.setdefault((xid,), Head(xid, one.identity))


def _entry(erasure: Erasure, cuts: Sequence[Cut]) -> dict[str, Any]:
    """Write what a part of an erasure did as the journal keeps it; ``at`` is when the last of it was done."""
    in_order = sorted(cuts, key=lambda cut: cut.until_ms)
    return {
        "kind": ERASURE,
        "job": erasure.id,
        "caller": erasure.caller,
        "asked": erasure.at_ms,
        "hold": erasure.hold,
        "cutoffs": {xid: cutoff_place(cut.until_ms) for cut in in_order for xid in cut.xids},
        "at": in_order[-1].until_ms,
    }
