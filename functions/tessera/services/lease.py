"""How long a writer may go by the configuration that it read (design: Configuration)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tessera.domain.configuration import Configuration
from tessera.domain.tenant import Tenant

# What waits until every writer knows a change waits this long, and for the longest storage call on top.
LEASE_S = float(os.environ.get("CONFIGURATION_LEASE_S", "30"))
WRITERS_KNOW_AFTER_S = float(os.environ.get("WRITERS_KNOW_AFTER_S", "210"))


class Configurations(Protocol):
    """Where the configuration in force is read."""

    def current(self, tenant: Tenant) -> Configuration:
        """Read it, strongly consistent."""


class ConfigurationChangedError(Exception):
    """The configuration is another one by now: what was decided by it must be decided anew."""


class Lease:
    """A configuration, for as long as it may be written by. ``clock`` gives seconds.

    A writer asks before each write. After ``LEASE_S`` the configuration is read again, and if it is still the same one
    the lease begins anew. Threads may share it.
    """

    def __init__(
        self, configurations: Configurations, tenant: Tenant, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._configurations = configurations
        self._tenant = tenant
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self.configuration = configurations.current(tenant)

    def check(self) -> None:
        """Return if the configuration may still be written by. Raises ConfigurationChangedError."""
        if self._clock() - self._began < LEASE_S:
            return
        with self._lock:
            now = self._clock()
            if now - self._began < LEASE_S:
                return
            self._renew(now)

    def confirm(self) -> None:
        """Return if the configuration is still the one in force. Raises ConfigurationChangedError."""
        with self._lock:
            self._renew(self._clock())

    def _renew(self, now: float) -> None:
        if self._configurations.current(self._tenant).version != self.configuration.version:
            raise ConfigurationChangedError
        self._began = now
