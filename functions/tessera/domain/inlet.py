"""Inlets: where messages of one sandbox come in (contract: data-and-pql §4.5).

An inlet's id is a capability: 32 bytes, of which the first 12 say whose it is and the others are chance. The id of the
connection that the inlet belongs to is a hash of it. So one look-up leads from the inlet to its connection, an inlet
can lead to no other tenant, and who knows only a connection's id has no inlet.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from uuid import UUID

from tessera.domain.tenant import Tenant, digest, url_safe

SECRET_BYTES = 20
_TENANT_BYTES = 12
_ID = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Inlet:
    """What is known of a message before it is read: whose it is, and whether its sender must say who it is."""

    id: str
    tenant: Tenant
    sandbox_id: str
    connection_id: str
    name: str
    source_id: str
    authentication_required: bool
    enabled: bool


def new_inlet_id(tenant: Tenant, secret: bytes) -> str:
    """Make an inlet's id of ``SECRET_BYTES`` random bytes."""
    return (base64.urlsafe_b64decode(tenant.key) + secret).hex()


def tenant_key_of(inlet_id: str) -> str | None:
    """Return the key of the tenant that an inlet belongs to, or ``None`` for what cannot be an inlet's id."""
    if not _ID.match(inlet_id):
        return None
    return url_safe(bytes.fromhex(inlet_id)[:_TENANT_BYTES])


def connection_id_of(inlet_id: str) -> str:
    """Return the id of the connection that an inlet belongs to."""
    return str(UUID(bytes=digest(16, b"tessera.inlet", inlet_id), version=5))
