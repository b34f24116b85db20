"""Starting executions of a state machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from types_boto3_stepfunctions import SFNClient


class Executions:
    """The executions of one state machine; its client is made when it is first needed, as few calls do."""

    def __init__(self, client: Callable[[], SFNClient], machine_arn: Callable[[], str]) -> None:
        self._client = client
        self._machine_arn = machine_arn

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution, unless there was one of that name: a job asked for twice runs once."""
        client = self._client()
        try:
            client.start_execution(
                stateMachineArn=self._machine_arn(), name=name, input=orjson.dumps(document).decode()
            )
        except client.exceptions.ExecutionAlreadyExists:
            return
