"""Who of some identities stands for a person: each person is met once, and read as a look-up reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from tessera.domain.configuration import Configuration
from tessera.domain.errors import EntityNotFoundError, TooManyRelatedIdentitiesError
from tessera.domain.graph import Head
from tessera.domain.identity import Xid
from tessera.domain.merge_policy import GraphType, MergePolicy
from tessera.domain.profile import IdentityItems
from tessera.domain.tenant import Tenant
from tessera.services.profile_reader import Person, ProfileReader, members_of, members_of_graphs, seen

# A shard of the index and an identity in it.
Position = tuple[int, Xid]


class LeftOut(Enum):
    """Why somebody is passed over whom a look-up does not answer either (contract: data-and-pql §3.6)."""

    OVER_LIMIT = "a person of more identities than a look-up reads"
    COLLAPSED = "an identity of a graph that is too large to be kept"


def standing_persons(
    reader: ProfileReader,
    tenant: Tenant,
    page: Sequence[Position],
    policy: MergePolicy,
    configuration: Configuration,
    now_ms: int,
) -> Iterator[tuple[Position, Person | LeftOut]]:
    """Read who of a page stands for a person, and the other members of the graphs; pass over whom no look-up finds.

    Everything is read here, whatever the index said. Members are read after who names them, as a look-up does: one
    who was by itself when the page was read, and was linked since, is read once more and given with the others.
    """
    read = reader.identities(tenant, [xid for _, xid in page])
    standing = {xid: items for xid, items in read.items() if _stands_for_a_person(items.head, policy.graph)}
    others: dict[Xid, IdentityItems] = {}
    if policy.graph is GraphType.PRIVATE:
        others = reader.identities(tenant, sorted(members_of_graphs(standing)))
    known = standing | others
    for position in page:
        _, xid = position
        if xid not in standing or xid in others:
            continue
        try:
            members = members_of(xid, known, policy)
            yield position, seen(tenant, xid, members, policy, configuration, now_ms)
        except TooManyRelatedIdentitiesError:
            yield position, LeftOut.COLLAPSED if known[xid].head.collapsed else LeftOut.OVER_LIMIT
        except EntityNotFoundError:
            continue


def _stands_for_a_person(head: Head, graph: GraphType) -> bool:
    """Tell whether an identity is the one by which a person is met.

    That is who is by itself, leads a graph, or is not kept in one.
    """
    return graph is GraphType.NONE or head.collapsed or head.leads or not head.members
