"""What all tests go by."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A busy machine is not a failure: no test asserts how long anything takes.
# A change is judged by the same examples each time; whoever works on one meets new ones.
settings.register_profile(
    "tessera", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tessera")
