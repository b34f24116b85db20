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
        dependencies = make_layer(self, "dependencies", settings)
        parquet = make_layer(self, "parquet", settings)
        ingest = IngestFunctions(
            self,
            "Ingest",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            parquet=parquet,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        delete = DeleteFunctions(
            self,
            "Delete",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        backfill = BackfillFunctions(
            self,
            "Backfill",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        expiry = ExpiryFunctions(
            self,
            "Expiry",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        self.streaming = Streaming(
            self,
            "Streaming",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        purge = PurgeFunctions(
            self,
            "Purge",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        export = ExportFunctions(
            self,
            "Export",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            parquet=parquet,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        sample = SampleFunctions(
            self,
            "Sample",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        erase = EraseFunctions(
            self,
            "Erase",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            parquet=parquet,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        ExportTable(self, "ExportTable", settings=settings, bucket=storage.lake.bucket)
        self.ingest = IngestMachine(self, "IngestMachine", settings=settings, storage=storage, functions=ingest).machine
        drop = make_drop(
            self,
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
            ingest=self.ingest,
        )
        self.functions = (
            *(*ingest.all, drop, *delete.all, *erase.all, *purge.all, *backfill.all, *expiry.all, *export.all),
            *(*sample.all, *self.streaming.functions),
        )
        self.delete = DeleteMachine(
            self, "DeleteMachine", settings=settings, functions=delete, longest_writer=TIMEOUT
        ).machine
        self.purge = PurgeMachine(
            self, "PurgeMachine", settings=settings, storage=storage, functions=purge, longest_writer=TIMEOUT
        ).machine
        self.erase = EraseMachine(
            self, "EraseMachine", settings=settings, functions=erase, longest_writer=TIMEOUT
        ).machine
        self.backfill = BackfillMachine(
            self, "BackfillMachine", settings=settings, storage=storage, functions=backfill
        ).machine
        self.expiry = ExpiryMachine(self, "ExpiryMachine", settings=settings, storage=storage, functions=expiry).machine
        self.export = ExportMachine(self, "ExportMachine", settings=settings, storage=storage, functions=export).machine
        self.sample = SampleMachine(self, "SampleMachine", settings=settings, storage=storage, functions=sample).machine
        CfnOutput(self, "IngestStateMachineArn", value=self.ingest.state_machine_arn)
        CfnOutput(self, "DeleteStateMachineArn", value=self.delete.state_machine_arn)
        CfnOutput(self, "PurgeStateMachineArn", value=self.purge.state_machine_arn)
        CfnOutput(self, "EraseStateMachineArn", value=self.erase.state_machine_arn)
        CfnOutput(self, "BackfillStateMachineArn", value=self.backfill.state_machine_arn)
        CfnOutput(self, "ExpiryStateMachineArn", value=self.expiry.state_machine_arn)
        for name, queue in {"Stream": self.streaming.messages, "Window": self.streaming.windows}.items():
            CfnOutput(self, f"{name}QueueUrl", value=queue.queue.queue_url)
            CfnOutput(self, f"{name}DeadLettersUrl", value=queue.dead.queue_url)
        CfnOutput(self, "ExportStateMachineArn", value=self.export.state_machine_arn)
        CfnOutput(self, "SampleStateMachineArn", value=self.sample.state_machine_arn)
