"""What all tests go by."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A busy machine is not a failure: no test asserts how long anything takes.
# A change is judged by the same examples each time; whoever works on one meets new ones.
settings.register_profile(
    "tessera", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tessera")

# One process has the local cloud, and one the templates, which take longer to make than all that is asked of them.
_TOGETHER = {"e2e", "infra"}


class _Scheduling(LoadScopeScheduling):
    """Hands out tests to processes by what they share: a folder's, or a file's."""

    def _split_scope(self, nodeid: str) -> str:
        folder, _, file = nodeid.partition("::")[0].removeprefix("tests/").partition("/")
        return folder if folder in _TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Tell how `--numprocesses` is to share out the tests: those first that take longest."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)
