"""Whatever goes wrong while messages are received: what is acknowledged is there, what is not can be sent again.

Laws 3, 4 and 5 for the calls that senders make; what comes after the queue is in ``test_streaming_again``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tessera.domain.computed.window import Unit, Window
from tessera.services.computed.compiled import compile_attribute
from tessera.storage import aws, queues
from tessera.storage.configuration import ConfigurationStore
from tests.integration import stream_queues
from tests.integration.disturbed import Clients, Wrong
from tests.integration.hostile import CrashError
from tests.integration.inlets import TENANT
from tests.integration.snapshots import restore, snapshot
from tests.integration.stream_queues import close_windows, pump, waiting
from tests.integration.test_streaming import EVENTS, UPSERT, Client, client, event, message, person, stored

__all__ = ["client"]

# One of the namespaces is new to the sandbox.
LINKED = {"CRM": [{"id": "c1", "primary": True}], "Till": [{"id": "t1"}]}
EVENT = message(event(1, identityMap=LINKED), EVENTS)
SENT = {
    "an event whose sender waits": (True, [EVENT]),
    "a record whose sender waits": (True, [message(person(1))]),
    "an update whose sender waits": (True, [message(person(1, n=1), UPSERT)]),
    "an event": (False, [EVENT]),
    "a large message": (False, [EVENT]),
    "more messages than one call takes": (False, [message(event(number), EVENTS) for number in range(3)]),
}


def not_acknowledged(client: Client, messages: Sequence[Any], *, sync: bool) -> list[Any]:
    """Send messages; return those whose sender knows not, or otherwise, that they were taken."""
    try:
        answer = client.send(messages[0], sync=sync) if len(messages) == 1 else client.send_several(*messages)
    except CrashError:
        return list(messages)
    if answer.status >= 500:
        return list(messages)
    if answer.status == 200:
        return []
    assert answer.status == 207, answer.text
    told = answer.json()["responses"]
    assert all("xactionId" in one or one["statusCode"] >= 500 for one in told)
    return [one for one, its in zip(messages, told, strict=True) if "xactionId" not in its]


def shown(client: Client) -> tuple[Any, ...]:
    """What readers see, and which items there are; places differ from run to run.

    What is sent again is another message, so the event may have a copy, as it has if anybody else brings it too.
    """
    profile = client.profile()
    items = sorted(key for key in stored() if " C#" not in key)
    return profile["entity"], profile["sources"], client.events(), items


def gathered(client: Client) -> set[bytes]:
    """The rows of all batches: who sends again what was taken has it in the lake twice."""
    batches = client.batches()
    assert {batch["status"] for batch in batches} <= {"success"}
    return {orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for batch in batches for row in client.rows(batch["id"])}


@pytest.mark.parametrize("what", SENT)
def test_what_is_acknowledged_is_there_and_what_is_not_can_be_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    sync, messages = SENT[what]
    monkeypatch.setattr(queues, "_MAX_ENTRIES", 2)
    if what == "a large message":
        monkeypatch.setattr(queues, "_MAX_BYTES", 200)
    rule = compile_attribute("xEvent.count()", Window(6, Unit.MONTHS)).rule
    ConfigurationStore(aws.dynamodb(), aws.registry_table()).change(
        TENANT, lambda known: known.with_attribute("seen", "xEvent.count()", rule).with_ready_attribute("seen")
    )
    clients = Clients(monkeypatch)
    begin = snapshot()

    def begin_anew() -> None:
        restore(begin)
        for name in stream_queues.NAMES:
            stream_queues.empty(name)

    def settle() -> None:
        pump()
        assert waiting("stream-dead") == []
        close_windows(monkeypatch)

    trouble = clients.process()
    assert not_acknowledged(client, messages, sync=sync) == []
    calls = trouble.calls
    settle()
    expected, rows = shown(client), gathered(client)
    assert len(rows) == (0 if what.startswith("an update") else len(messages))
    assert calls >= (8 if sync else 3)

    died = 0
    # After the last call, it is the answer to the sender that is lost.
    for at in range(calls + 1):
        for wrong in Wrong:
            begin_anew()
            clients.process(at, wrong)
            again = not_acknowledged(client, messages, sync=sync) if at < calls else messages
            died += bool(again)
            clients.process()
            if sync and not again:
                assert shown(client) == expected, (at, wrong)
            if again:
                assert not_acknowledged(client, again, sync=sync) == []
            settle()
            assert shown(client) == expected, (at, wrong)
            assert gathered(client) == rows, (at, wrong)
    assert died > calls
