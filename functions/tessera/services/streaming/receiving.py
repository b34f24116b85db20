"""Taking messages in: each gets its place in history, and once it is acknowledged it is durable (laws 2 and 4)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.message import Message, MessageError, received
from tessera.domain.place import Place, stream_place, transaction_id
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import RANDOM_BITS, ulid


class Configurations(Protocol):
    """Where the configuration in force is read."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read it."""


class Queue(Protocol):
    """Where messages wait to be processed."""

    def send(self, messages: Sequence[Message]) -> Collection[Place]:
        """Put messages in line; answer the places of those that could not be."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call at an inlet, as it was received: milliseconds since 1970, and an id that sorts by them."""

    received_ms: int
    id: str

    @property
    def transaction_id(self) -> str:
        """How answers write the id."""
        return transaction_id(self.id)

    def place(self, position: int | None) -> Place:
        """Place of a message: its number in a request that may have several, ``None`` in one that has one."""
        return stream_place(self.received_ms, self.id, position)


class Receiver:
    """Takes messages in; ``clock_ms`` gives milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        queue: Queue,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._queue = queue
        self._clock_ms = clock_ms

    def request(self) -> Request:
        """Receive a request now."""
        now = self._clock_ms()
        return Request(now, ulid(now, secrets.randbits(RANDOM_BITS)))

    def one(self, tenant: Tenant, request: Request, sent: object) -> Message:
        """Look at the message of a request that has one. Raises MessageError."""
        return received(sent, tenant, request.place(None), self._configurations.current(tenant))

    def several(self, tenant: Tenant, request: Request, sent: Sequence[object]) -> list[Message | MessageError]:
        """Look at the messages of a request that may have several, each by itself."""
        configuration = self._configurations.current(tenant)
        looked_at: list[Message | MessageError] = []
        for position, one in enumerate(sent):
            try:
                looked_at.append(received(one, tenant, request.place(position), configuration))
            except MessageError as error:
                looked_at.append(error)
        return looked_at

    def queue(self, messages: Sequence[Message]) -> Collection[Place]:
        """Put messages in line to be processed; answer the places of those that were not taken."""
        return self._queue.send(messages)
