"""Processes of which one call to AWS goes wrong, whichever it is, and in every way it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tessera.storage import aws
from tests.integration.conftest import forget
from tests.integration.hostile import CrashError

_CLIENTS = ("dynamodb", "s3", "sqs", "stepfunctions")
_HOST = "https://aws.example.com"


class Wrong(StrEnum):
    """What happens at a call. A process that dies after a call leaves what one leaves that dies before the next."""

    DIES = "the process dies before it"
    FAILS = "it fails"
    IS_LOST = "it takes effect, and its answer is lost"


@dataclass
class Trouble:
    """At which call of a process something goes wrong, from 0, and what; without ``at``, nothing does."""

    at: int | None = None
    wrong: Wrong = Wrong.DIES
    calls: int = 0

    def around(self, call: Callable[[], Any]) -> Any:
        """Make a call, or what becomes of it."""
        now, self.calls = self.calls, self.calls + 1
        if now != self.at:
            return call()
        match self.wrong:
            case Wrong.DIES:
                raise CrashError
            case Wrong.FAILS:
                raise EndpointConnectionError(endpoint_url=_HOST)
            case Wrong.IS_LOST:
                call()
                raise ReadTimeoutError(endpoint_url=_HOST)


class Clients:
    """The clients of processes, made once; each process begins without memory of the one before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._real: dict[str, Any] = {name: boto3.client(name) for name in _CLIENTS}  # type: ignore[call-overload]

    def process(self, at: int | None = None, wrong: Wrong = Wrong.DIES) -> Trouble:
        """Begin a new process."""
        trouble = Trouble(at, wrong)
        forget()
        for name, real in self._real.items():
            self._patch.setattr(aws, name, lambda real=real: _Disturbed(real, trouble))  # type: ignore[misc]
        return trouble


@dataclass
class _Disturbed:
    client: Any
    trouble: Trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        if name == "get_paginator":
            return lambda operation: _Pages(found(operation), self.trouble)
        if name in {"exceptions", "meta", "generate_presigned_url"}:
            return found
        return lambda **request: self.trouble.around(lambda: found(**request))


@dataclass
class _Pages:
    paginator: Any
    trouble: Trouble

    def paginate(self, **request: Any) -> Iterator[Any]:
        pages = iter(self.paginator.paginate(**request))
        nothing = object()
        while (page := self.trouble.around(lambda: next(pages, nothing))) is not nothing:
            yield page
