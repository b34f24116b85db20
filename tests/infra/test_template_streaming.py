"""The queues of streaming: nothing in them is lost, readable by others, or tried for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.deployment import Deployment
from tests.infra.test_template_functions import as_list, functions, granted

FORTNIGHT_S = 14 * 24 * 3600
WORKERS = {"tessera-stream": "tessera-stream-process", "tessera-windows": "tessera-stream-close"}


def queues(deployment: Deployment) -> dict[str, dict[str, Any]]:
    found = deployment.resources("AWS::SQS::Queue").values()
    return {one["Properties"]["QueueName"]: one["Properties"] for one in found}


def logical(deployment: Deployment, name: str) -> str:
    found = deployment.resources("AWS::SQS::Queue").items()
    return next(key for key, one in found if one["Properties"]["QueueName"] == name)


def mappings(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """The event source mappings by the logical id of their queue."""
    found = deployment.resources("AWS::Lambda::EventSourceMapping").values()
    return {one["Properties"]["EventSourceArn"]["Fn::GetAtt"][0]: one["Properties"] for one in found}


def test_what_fails_is_kept_aside(aws: Deployment) -> None:
    assert set(queues(aws)) == {name + end for name in WORKERS for end in ("", "-dead")}
    for name in WORKERS:
        queue = queues(aws)[name]
        assert queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0] == logical(aws, f"{name}-dead")
        assert queue["RedrivePolicy"]["maxReceiveCount"] == 5
    for queue in queues(aws).values():
        assert queue["MessageRetentionPeriod"] == FORTNIGHT_S


def test_a_message_is_not_handed_over_again_while_it_is_being_dealt_with(aws: Deployment) -> None:
    for name, worker in WORKERS.items():
        assert queues(aws)[name]["VisibilityTimeout"] >= functions(aws)[worker]["Timeout"]


def test_encrypted_and_over_tls_only(aws: Deployment, everything_on: Deployment) -> None:
    assert all(queue["SqsManagedSseEnabled"] for queue in queues(aws).values())
    assert all("KmsMasterKeyId" in queue for queue in queues(everything_on).values())
    refused = set()
    for policy in aws.resources("AWS::SQS::QueuePolicy").values():
        (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Deny", "sqs:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        refused |= {queue["Ref"] for queue in policy["Properties"]["Queues"]}
    assert refused == set(aws.resources("AWS::SQS::Queue"))


@pytest.mark.parametrize("which", ["aws", "local"])
def test_only_failed_messages_come_again(which: str, request: pytest.FixtureRequest) -> None:
    deployment = request.getfixturevalue(which)
    assert set(mappings(deployment)) == {logical(deployment, name) for name in WORKERS}
    for name in WORKERS:
        mapping = mappings(deployment)[logical(deployment, name)]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        # Nobody waits for a batch to fill: a message is in the store within a second or two.
        assert mapping.get("MaximumBatchingWindowInSeconds", 0) == 0
        assert mapping["BatchSize"] == (10 if name == "tessera-stream" else 1)
        assert mapping["ScalingConfig"]["MaximumConcurrency"] >= 2


def test_who_sends_and_who_receives(aws: Deployment) -> None:
    found: dict[str, set[tuple[str, str]]] = {}
    for function in functions(aws):
        for statement in granted(aws, function):
            for action in as_list(statement["Action"]):
                for resource in as_list(statement["Resource"]) if action.startswith("sqs:") else ():
                    which = "Windows" if "Windows" in json.dumps(resource) else "Messages"
                    found.setdefault(action, set()).add((function, which))
    received = {("tessera-stream-process", "Messages"), ("tessera-stream-close", "Windows")}
    assert found == {
        "sqs:SendMessage": {
            ("tessera-api-streaming", "Messages"),
            *(
                (name, "Windows")
                for name in ("tessera-api-streaming", "tessera-stream-process", "tessera-stream-close")
            ),
        },
        **{f"sqs:{action}": received for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")},
    }


def test_dead_letters_ring(everything_on: Deployment) -> None:
    alarms = [one["Properties"] for one in everything_on.resources("AWS::CloudWatch::Alarm").values()]
    watching = [one for one in alarms if one.get("MetricName") == "ApproximateNumberOfMessagesVisible"]
    assert len(watching) == 2
    for alarm in watching:
        assert (alarm["Namespace"], alarm["Threshold"], alarm["Statistic"]) == ("AWS/SQS", 1, "Maximum")
        assert "Dead" in json.dumps(alarm["Dimensions"])
