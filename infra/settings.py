"""What may differ between deployments, read once from the CDK context."""

from __future__ import annotations

from dataclasses import dataclass

from constructs import Node

LOCAL_ACCOUNT = "000000000000"
LOCAL_REGION = "us-east-1"
# Six attempts that all time out, and the pauses between them; see the functions' AWS clients.
LONGEST_STORAGE_CALL_S = 180


@dataclass(frozen=True)
class Settings:
    """The switches of a deployment. Every default costs nothing while the service is idle."""

    name: str
    local_endpoint: str | None
    alarms: bool
    alarm_email: str | None
    own_key: bool
    firewall: bool
    deletion_protection: bool
    map_concurrency: int
    task_attempts: int
    stream_window_s: int
    sample_threshold_percent: float
    log_retention_days: int
    throttle_rate: int
    throttle_burst: int

    @property
    def local(self) -> bool:
        """Whether this is the local cloud."""
        return self.local_endpoint is not None

    @property
    def configuration_lease_s(self) -> int:
        """For how many seconds a writer goes by the configuration that it read."""
        return 1 if self.local else 30

    @property
    def writers_know_after_s(self) -> int:
        """After how many seconds no writer goes by what it read before a change: the lease and the longest call."""
        return self.configuration_lease_s + (2 if self.local else LONGEST_STORAGE_CALL_S)

    @property
    def index_lag_s(self) -> int:
        """After how many seconds the index shows what the table has; far more than it ever takes."""
        return 1 if self.local else 30

    @staticmethod
    def read(node: Node) -> Settings:
        """Read the context (`-c key=value`, or cdk.json); on the command line every value is a string."""

        def text(key: str) -> str | None:
            value = node.try_get_context(key)
            return None if value in (None, "") else str(value)

        def switch(key: str, default: bool) -> bool:
            value = text(key)
            return default if value is None else value.lower() in {"true", "1", "yes", "on"}

        def number(key: str, default: int) -> int:
            value = text(key)
            return default if value is None else int(value)

        local = switch("local", False)
        return Settings(
            name=text("name") or "tessera",
            local_endpoint=(text("local_endpoint") or "http://127.0.0.1:4566") if local else None,
            alarms=switch("alarms", False),
            alarm_email=text("alarm_email"),
            own_key=switch("own_key", False),
            firewall=switch("firewall", False),
            deletion_protection=switch("deletion_protection", not local),
            map_concurrency=number("map_concurrency", 2 if local else 100),
            task_attempts=number("task_attempts", 2 if local else 5),
            stream_window_s=number("stream_window_s", 15 if local else 900),
            sample_threshold_percent=float(text("sample_threshold_percent") or 3),
            log_retention_days=number("log_retention_days", 30),
            throttle_rate=number("throttle_rate", 1000),
            throttle_burst=number("throttle_burst", 2000),
        )
