"""Organisation and sandbox: part of every key (law 6)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache


def digest(size: int, purpose: bytes, *parts: str) -> bytes:
    """Hash ``parts`` to ``size`` bytes, each length-prefixed so that no two lists of parts collide."""
    hasher = hashlib.blake2b(digest_size=size, person=purpose)
    for part in parts:
        hasher.update(_prefixed(part))
    return hasher.digest()


def digester(size: int, purpose: bytes, *parts: str) -> Callable[..., Callable[[str], bytes]]:
    """Hash many lists of parts that begin alike: return what takes more parts, and then the last one, as ``digest``."""
    begun = hashlib.blake2b(digest_size=size, person=purpose)
    for part in parts:
        begun.update(_prefixed(part))

    def beginning(*more: str) -> Callable[[str], bytes]:
        hasher = begun.copy()
        for part in more:
            hasher.update(_prefixed(part))

        def end(last: str) -> bytes:
            copy = hasher.copy()
            copy.update(_prefixed(last))
            return copy.digest()

        return end

    return beginning


def _prefixed(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def url_safe(raw: bytes) -> str:
    """Write bytes as url-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Tenant:
    """One sandbox of one organisation; nothing is stored or read outside one."""

    org_id: str
    sandbox: str

    @property
    def key(self) -> str:
        """The 16 characters that begin every storage key of this tenant."""
        return _tenant_key(self.org_id, self.sandbox)


@lru_cache(maxsize=1024)
def _tenant_key(org_id: str, sandbox: str) -> str:
    return url_safe(digest(12, b"tessera.tenant", org_id, sandbox))
