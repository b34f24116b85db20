"""Streaming: the queue of messages, the queue of windows, and the functions that empty them."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import Workers
from infra.sampling import let_sample
from infra.settings import Settings

KEPT = Duration.days(14)
ATTEMPTS = 5
MESSAGES_AT_ONCE = 10
PROCESS_TIMEOUT = Duration.seconds(30)
PROCESSED_AGAIN = Duration.seconds(60)


class DurableQueue(Construct):
    """A queue whose messages are called with again, and after some attempts are kept aside as dead letters."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        key: kms.IKey | None,
        name: str,
        retried_after: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        encryption = sqs.QueueEncryption.KMS if key else sqs.QueueEncryption.SQS_MANAGED
        self.dead = sqs.Queue(
            self,
            "Dead",
            queue_name=f"{settings.name}-{name}-dead",
            encryption=encryption,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=KEPT,
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"{settings.name}-{name}",
            encryption=encryption,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=KEPT,
            visibility_timeout=retried_after,
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead, max_receive_count=ATTEMPTS),
        )

    def feed(self, function: ServiceFunction, *, at_once: int, concurrency: int) -> None:
        """Call a function with the messages; those that it says failed come again, the others are done with."""
        function.allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            [self.queue.queue_arn],
        )
        lambda_.EventSourceMapping(
            self,
            "Mapping",
            target=function.function,
            event_source_arn=self.queue.queue_arn,
            batch_size=at_once,
            report_batch_item_failures=True,
            max_concurrency=concurrency,
        ).node.add_dependency(function.role)

    def let_send(self, function: ServiceFunction, variable: str) -> None:
        """Let a function put messages in the queue, whose URL it finds in its environment."""
        function.allow(["sqs:SendMessage"], [self.queue.queue_arn])
        function.function.add_environment(variable, self.queue.queue_url)


class Streaming(Construct):
    """The two queues and the two functions, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        settings, storage = workers.settings, workers.storage
        self._settings = settings
        self._storage = storage
        self.messages = DurableQueue(
            self, "Messages", settings=settings, key=storage.key, name="stream", retried_after=PROCESSED_AGAIN
        )
        self.windows = DurableQueue(
            self, "Windows", settings=settings, key=storage.key, name="windows", retried_after=workers.timeout
        )

        task = workers.tasks(self, "stream")
        self.process = task("process", timeout=PROCESS_TIMEOUT)
        self.let_process(self.process)
        storage.grant_lake(self.process, read=["stream"])
        self.messages.feed(self.process, at_once=MESSAGES_AT_ONCE, concurrency=max(2, settings.map_concurrency))

        self.close = task("close")
        storage.allow_registry(self.close, "dynamodb:GetItem", "dynamodb:PutItem")
        storage.grant_lake(self.close, read=["stream", "jobs"], write=["stream", "raw", "rejected", "jobs", "places"])
        self.windows.let_send(self.close, "WINDOW_QUEUE_URL")
        self.windows.feed(self.close, at_once=1, concurrency=2)
        let_sample(self.close, settings)

        self.functions = (self.process, self.close)

    def let_process(self, function: ServiceFunction) -> None:
        """Let a function judge messages, write their rows, and stage them for the lake."""
        self._storage.grant_registry(function, write=True)
        self._storage.grant_profile(function, write=True)
        self._storage.grant_lake(function, write=["stream"])
        self.windows.let_send(function, "WINDOW_QUEUE_URL")
        function.function.add_environment("STREAM_WINDOW_S", str(self._settings.stream_window_s))
        function.function.add_environment("CONFIGURATION_LEASE_S", str(self._settings.configuration_lease_s))

    def let_receive(self, function: ServiceFunction) -> None:
        """Let a function take messages in, and process those whose senders wait."""
        self.let_process(function)
        self.messages.let_send(function, "STREAM_QUEUE_URL")
