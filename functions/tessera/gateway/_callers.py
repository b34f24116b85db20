"""What the registry says of callers and organisations, remembered for a minute.

A refusal is never given from memory alone: the document is read again first, so a client or a sandbox that was
just registered works at once. Refusals repeated within a second share one such reading.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from tessera.storage.registry import Registry

_FRESH_S = 60
_REFUSED_FROM_MEMORY_S = 1
_REMEMBERED = 1024
# How many keys that came without a valid token are looked up, per second and process.
_STRANGERS_PER_S = 5


@dataclass(frozen=True, slots=True)
class _Remembered:
    document: dict[str, Any] | None
    read_at: float


class Directory:
    """Reads ``client#…`` and ``org#…`` documents."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._memory: OrderedDict[tuple[str, str], _Remembered] = OrderedDict()
        self._strangers: tuple[int, int] = (0, 0)

    def client(self, client_id: str, *, doubted: bool = False) -> dict[str, Any] | None:
        """Return a client's document; ``doubted`` when the one in memory would lead to a refusal."""
        return self._get(f"client#{client_id}", "client", doubted)

    def organisation(self, org_id: str, *, doubted: bool = False) -> dict[str, Any] | None:
        """Return an organisation's document."""
        return self._get(f"org#{org_id}", "org", doubted)

    def is_stranger(self, client_id: str) -> bool:
        """Tell whether a key that came without a valid token is nobody's.

        Of a flood of them only a few are looked up: for the others the token is what is wrong with the request.
        """
        if (f"client#{client_id}", "client") not in self._memory:
            second, asked = self._strangers
            now = int(time.monotonic())
            asked = asked + 1 if second == now else 1
            self._strangers = (now, asked)
            if asked > _STRANGERS_PER_S:
                return False
        return self.client(client_id) is None

    def _get(self, partition: str, sort: str, doubted: bool) -> dict[str, Any] | None:
        key = (partition, sort)
        now = time.monotonic()
        known = self._memory.get(key)
        if known is not None:
            trusted_s = _REFUSED_FROM_MEMORY_S if doubted or known.document is None else _FRESH_S
            if now - known.read_at < trusted_s:
                return known.document
        document = self._registry.get(partition, sort)
        self._memory[key] = _Remembered(document, now)
        self._memory.move_to_end(key)
        if len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
        return document
