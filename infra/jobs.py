"""The jobs: state machines of plan, workers and finish, and what works on the queues of streaming."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Stack
from constructs import Construct

from infra.backfill import BackfillFunctions, BackfillMachine
from infra.deletion import DeleteFunctions, DeleteMachine
from infra.erasure import EraseFunctions, EraseMachine
from infra.expiry import ExpiryFunctions, ExpiryMachine
from infra.export import ExportFunctions, ExportMachine, ExportTable
from infra.ingestion import IngestFunctions, IngestMachine, make_drop
from infra.layers import make_layer
from infra.machine import Workers
from infra.purge import PurgeFunctions, PurgeMachine
from infra.sampling import SampleFunctions, SampleMachine
from infra.settings import Settings
from infra.storage import StorageStack
from infra.streaming import Streaming

# 1,769 MB is one whole vCPU.
WORKER_MEMORY = 1769
TIMEOUT = Duration.minutes(10)


class JobsStack(Stack):
    """The machines and their tasks."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, storage: StorageStack, **options: object
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        self.writers_know_after_s = settings.writers_know_after_s
        workers = Workers(
            settings=settings,
            storage=storage,
            dependencies=make_layer(self, "dependencies", settings),
            parquet=make_layer(self, "parquet", settings),
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        ingest = IngestFunctions(self, "Ingest", workers)
        delete = DeleteFunctions(self, "Delete", workers)
        backfill = BackfillFunctions(self, "Backfill", workers)
        expiry = ExpiryFunctions(self, "Expiry", workers)
        self.streaming = Streaming(self, "Streaming", workers)
        purge = PurgeFunctions(self, "Purge", workers)
        export = ExportFunctions(self, "Export", workers)
        sample = SampleFunctions(self, "Sample", workers)
        erase = EraseFunctions(self, "Erase", workers)
        ExportTable(self, "ExportTable", settings=settings, bucket=storage.lake.bucket)
        self.ingest = IngestMachine(self, "IngestMachine", workers, ingest).machine
        drop = make_drop(self, workers, self.ingest)
        self.functions = (
            *(*ingest.all, drop, *delete.all, *erase.all, *purge.all, *backfill.all, *expiry.all, *export.all),
            *(*sample.all, *self.streaming.functions),
        )
        self.delete = DeleteMachine(self, "DeleteMachine", workers, delete).machine
        self.purge = PurgeMachine(self, "PurgeMachine", workers, purge).machine
        self.erase = EraseMachine(self, "EraseMachine", workers, erase).machine
        self.backfill = BackfillMachine(self, "BackfillMachine", workers, backfill).machine
        self.expiry = ExpiryMachine(self, "ExpiryMachine", workers, expiry).machine
        self.export = ExportMachine(self, "ExportMachine", workers, export).machine
        self.sample = SampleMachine(self, "SampleMachine", workers, sample).machine
        machines = {
            "Ingest": self.ingest,
            "Delete": self.delete,
            "Purge": self.purge,
            "Erase": self.erase,
            "Backfill": self.backfill,
            "Expiry": self.expiry,
            "Export": self.export,
            "Sample": self.sample,
        }
        for name, machine in machines.items():
            CfnOutput(self, f"{name}StateMachineArn", value=machine.state_machine_arn)
        for name, queue in {"Stream": self.streaming.messages, "Window": self.streaming.windows}.items():
            CfnOutput(self, f"{name}QueueUrl", value=queue.queue.queue_url)
            CfnOutput(self, f"{name}DeadLettersUrl", value=queue.dead.queue_url)
