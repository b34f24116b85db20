"""Starting executions of a state machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from types_boto3_stepfunctions import SFNClient


class Executions:
    """The executions of one state machine."""

    def __init__(self, client: SFNClient, machine_arn: str) -> None:
        self._client = client
        self._machine_arn = machine_arn

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution, unless there was one of that name: a job asked for twice runs once."""
        try:
            self._client.start_execution(
                stateMachineArn=self._machine_arn, name=name, input=orjson.dumps(document).decode()
            )
        except self._client.exceptions.ExecutionAlreadyExists:
            return
