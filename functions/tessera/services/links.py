"""Links as people see and change them: who linked two identities, taking a link away, linking by hand (unmerge)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tessera.domain.errors import EntityNotFoundError, InvalidRequestError, NotFoundError
from tessera.domain.graph import Assertion, Head, LinkRules, Removal, by_hand
from tessera.domain.identity import MAX_IDENTITY_LENGTH, Identity, Xid, unusable_because
from tessera.domain.place import Place, hand_place
from tessera.domain.tenant import Tenant
from tessera.services.lease import Configurations
from tessera.services.linking import HeadStore, Linker


class LinkState(StrEnum):
    """What becomes of a link: it holds, a rule stands against it, it was removed, or its graph is too large."""

    EFFECTIVE = "effective"
    REFUSED = "refused"
    REMOVED = "removed"
    COLLAPSED = "collapsed"


@dataclass(frozen=True, slots=True)
class Link:
    """A link of one identity: with whom, on whose word since when, and what becomes of it."""

    other: Head
    state: LinkState
    sources: Mapping[str, Place]
    reason: str = ""
    removal: Removal | None = None


class History(Protocol):
    """Where is kept who changed which link."""

    def add(self, tenant: Tenant, xids: Collection[Xid], entry: Mapping[str, Any]) -> None:
        """Note a change under each identity it concerns."""

    def of(self, tenant: Tenant, xid: Xid) -> list[dict[str, Any]]:
        """Read the changes of an identity's links, oldest first."""


class Links:
    """Shows and changes links. ``clock_ms`` is milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        store: HeadStore,
        linker: Linker,
        history: History,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._store = store
        self._linker = linker
        self._history = history
        self._clock_ms = clock_ms

    def of(self, tenant: Tenant, xid: Xid) -> list[Link]:
        """List an identity's links.

        Raises EntityNotFoundError.
        """
        head = self._head(tenant, xid)
        rules = self._configurations.current(tenant).link_rules
        names = {other for other, _ in head.assertions} | set(head.removed)
        others = self._store.heads(tenant, sorted(names))
        return [_link(head, others[name], rules) for name in sorted(names) if name in others]

    def history(self, tenant: Tenant, xid: Xid) -> list[dict[str, Any]]:
        """List who changed which link of an identity, oldest first."""
        return self._history.of(tenant, xid)

    def remove(self, tenant: Tenant, one: Xid, other: Xid, client_id: str) -> None:
        """Take a link away: both read as if nobody had ever linked the two (law 1); repeatable.

        Raises NotFoundError when nobody ever did.
        """
        head = self._head(tenant, one)
        if not any(xid == other for xid, _ in head.assertions) and other not in head.removed:
            raise NotFoundError("These two identities are not linked directly: see the links of each")
        now_ms = self._clock_ms()
        self._record(tenant, "removed", (one, other), client_id, now_ms)
        rules = self._configurations.current(tenant).link_rules
        self._linker.remove(tenant, rules, one, other, Removal(now_ms, client_id))

    def add(self, tenant: Tenant, one: Identity, other: Identity, client_id: str) -> None:
        """Lift the removal of a link or, where nobody's word stands for it, link the two by hand; repeatable.

        Raises InvalidRequestError for an identity that cannot be linked.
        """
        if one == other:
            raise InvalidRequestError("An identity cannot be linked with itself")
        for identity in (one, other):
            if reason := unusable_because(identity):
                raise InvalidRequestError(f"This cannot be linked: {reason}")
        now_ms = self._clock_ms()
        xids = (one.xid(tenant), other.xid(tenant))
        self._record(tenant, "added", xids, client_id, now_ms)
        assertion = Assertion.between(*xids, by_hand(client_id), hand_place(now_ms))
        rules = self._configurations.current(tenant).link_rules
        self._linker.restore(tenant, rules, one, other, assertion)

    def block(self, tenant: Tenant, identity: Identity, client_id: str) -> None:
        """Let an identity link nobody: it is shared, such as the address of a shop's counter; repeatable.

        Raises InvalidRequestError for one that is longer than any that rows can have.
        """
        if len(identity.value) > MAX_IDENTITY_LENGTH:
            raise InvalidRequestError(f"No identity is longer than {MAX_IDENTITY_LENGTH} characters")
        now_ms = self._clock_ms()
        xid = identity.xid(tenant)
        self._record(tenant, "blocked", (xid,), client_id, now_ms)
        rules = self._configurations.current(tenant).link_rules
        self._linker.block(tenant, rules, identity, hand_place(now_ms), blocked=True)

    def unblock(self, tenant: Tenant, identity: Identity, client_id: str) -> None:
        """Let a blocked identity link again; links said while it was blocked were not kept.

        Raises EntityNotFoundError.
        """
        head = self._head(tenant, identity.xid(tenant))
        if head.blocked:
            now_ms = self._clock_ms()
            self._record(tenant, "unblocked", (head.xid,), client_id, now_ms)
            rules = self._configurations.current(tenant).link_rules
            self._linker.block(tenant, rules, identity, hand_place(now_ms), blocked=False)

    def identity(self, tenant: Tenant, xid: Xid) -> Identity:
        """Return the identity behind an XID.

        Raises EntityNotFoundError.
        """
        identity = self._head(tenant, xid).identity
        if not identity.named:
            raise EntityNotFoundError
        return identity

    def graphs(self, tenant: Tenant, xids: Collection[Xid]) -> dict[Xid, list[Head]]:
        """Read the members of several identities' graphs, in two batched reads; unknown identities are left out."""
        found = self._store.heads(tenant, list(dict.fromkeys(xids)))
        asked = {xid: head for xid, head in found.items() if head.identity.named}
        further = {member for head in asked.values() for member in head.members} - asked.keys()
        known = {**asked, **self._store.heads(tenant, sorted(further))}
        return {xid: [known[member] for member in head.graph if member in known] for xid, head in asked.items()}

    def _head(self, tenant: Tenant, xid: Xid) -> Head:
        head = self._store.heads(tenant, [xid]).get(xid)
        if head is None:
            raise EntityNotFoundError
        return head

    def _record(self, tenant: Tenant, action: str, xids: Collection[Xid], client_id: str, now_ms: int) -> None:
        """Note who does what before it is done: a crash in between leaves an intention, never a silent change."""
        entry = {"action": action, "identities": list(xids), "clientId": client_id, "at": now_ms}
        self._history.add(tenant, xids, entry)


def _link(head: Head, other: Head, rules: LinkRules) -> Link:
    sources = {source: place for (xid, source), place in head.assertions.items() if xid == other.xid}
    removal = head.removed.get(other.xid)
    if removal is not None:
        return Link(other, LinkState.REMOVED, sources, removal=removal)
    if head.collapsed:
        return Link(other, LinkState.COLLAPSED, sources)
    if other.xid in head.members:
        return Link(other, LinkState.EFFECTIVE, sources)
    return Link(other, LinkState.REFUSED, sources, reason=_refusal(head, other, rules))


def _refusal(head: Head, other: Head, rules: LinkRules) -> str:
    for side in (head, other):
        if side.blocked:
            return f"this {side.identity.namespace} identity is blocked"
        if side.identity.namespace in rules.unlinkable:
            return f"identities of the namespace {side.identity.namespace} do not link persons"
    return "it would give a person two values of a namespace of which each has one"
