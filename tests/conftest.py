"""What all tests go by."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is not a failure: no test asserts how long anything takes.
settings.register_profile("tessera", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tessera")
