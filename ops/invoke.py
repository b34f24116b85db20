"""Run one function on one event in this process, against the local cloud: for a debugger and for curiosity.

    make invoke FUNCTION=entities EVENT=events/entities.get.json
    make invoke FUNCTION=ingest.plan EVENT=...

`${token}`, `${api_key}`, `${org_id}` and `${sandbox}` in an event become those of the development client.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from uuid import uuid4

from ops.local_cloud import DIRECTORY, ROOT, LocalCloudError, ensure_running
from ops.outputs import Outputs


@dataclass
class Context:
    """What Lambda tells a function about the invocation, as far as anyone reads it."""

    function_name: str
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:invoke"
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    deadline: float = field(default_factory=lambda: time.monotonic() + 900)

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left, of fifteen minutes."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def fetch_token(client: dict[str, str]) -> str:
    """Get an access token for a client configuration as `make client` prints it."""
    form = urllib.parse.urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
            "scope": client["scopes"],
        }
    )
    request = urllib.request.Request(client["token_url"], data=form.encode(), method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return str(json.load(answer)["access_token"])


def load_event(file: Path, client: dict[str, str] | None) -> Any:
    """Read an event and fill in the caller."""
    text = file.read_text()
    if "${" in text and client:
        text = Template(text).safe_substitute(client, token=fetch_token(client))
    return json.loads(text)


def invoke(function: str, event: Any, outputs: Outputs) -> Any:
    """Call the handler of `function` (`entities`, or `ingest.plan` for a job) with `event`."""
    os.environ.update(outputs.environment())
    functions = str(ROOT / "functions")
    if functions not in sys.path:
        sys.path.insert(0, functions)
    if "." in function:
        module, name = f"jobs.{function.rpartition('.')[0]}", function.rpartition(".")[2]
    else:
        module, name = f"api.{function}", "handler"
    os.environ.setdefault("POWERTOOLS_SERVICE_NAME", module)
    return getattr(importlib.import_module(module), name)(event, Context(function))


def main(arguments: list[str] | None = None) -> int:
    """Run one function on one event and print the answer."""
    parser = argparse.ArgumentParser(prog="make invoke", usage="make invoke FUNCTION=entities EVENT=events/x.json")
    parser.add_argument("function", help="a module of functions/api, or job.task")
    parser.add_argument("event", type=Path, help="a JSON file")
    given = parser.parse_args(arguments)
    if not given.function or not given.event.is_file():
        parser.error(f"no function, or no such event: {given.event}. The samples are in events/")
    try:
        outputs = ensure_running(say=lambda line: print(line, file=sys.stderr))
    except LocalCloudError as error:
        print(error, file=sys.stderr)
        return 1
    configured = DIRECTORY / "client.json"
    client = json.loads(configured.read_text()) if configured.exists() else None
    answer = invoke(given.function, load_event(given.event, client), outputs)
    print(json.dumps(answer, indent=2, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
