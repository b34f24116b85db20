"""The jobs: state machines of plan, workers and finish, and what works on the queues of streaming."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.backfill import BackfillFunctions, BackfillMachine
from infra.deletion import DeleteFunctions, DeleteMachine
from infra.erasure import EraseFunctions, EraseMachine
from infra.expiry import ExpiryFunctions, ExpiryMachine
from infra.export import ExportFunctions, ExportMachine, ExportTable
from infra.function import ServiceFunction
from infra.layers import make_layer
from infra.machine import make_machine, make_task
from infra.purge import PurgeFunctions, PurgeMachine
from infra.sampling import SampleFunctions, SampleMachine, let_sample
from infra.settings import Settings
from infra.storage import StorageStack
from infra.streaming import Streaming

# 1,769 MB is one whole vCPU.
WORKER_MEMORY = 1769
TIMEOUT = Duration.minutes(10)


class IngestFunctions(Construct):
    """The eight tasks of the ingest machine, each with its own role."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        dependencies: lambda_.ILayerVersion,
        parquet: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)

        def task(name: str, *extra: lambda_.ILayerVersion) -> ServiceFunction:
            return ServiceFunction(
                self,
                name.title(),
                settings=settings,
                name=f"ingest-{name}",
                handler=f"jobs.ingest.{name}",
                environment=storage.function_environment,
                layers=[dependencies, *extra],
                memory=WORKER_MEMORY,
                timeout=TIMEOUT,
            )

        self.plan = task("plan", parquet)
        storage.grant_registry(self.plan, write=True)
        storage.grant_lake(self.plan, read=["raw", "staged", "jobs"], write=["jobs"])

        self.validate = task("validate", parquet)
        storage.grant_registry(self.validate)
        storage.grant_lake(self.validate, read=["raw", "jobs"], write=["staged", "rejected", "jobs"])

        self.decide = task("decide")
        storage.grant_registry(self.decide, write=True)
        storage.grant_lake(self.decide, read=["jobs"], write=["jobs"])

        self.apply = task("apply")
        storage.grant_registry(self.apply)
        storage.grant_profile(self.apply, write=True)
        storage.grant_lake(self.apply, read=["staged", "jobs"], write=["jobs", "rejected"])
        self.apply.function.add_environment("CONFIGURATION_LEASE_S", str(settings.configuration_lease_s))

        self.remove = task("remove")
        storage.grant_registry(self.remove)
        storage.grant_profile(self.remove, write=True)
        self.remove.function.add_environment("CONFIGURATION_LEASE_S", str(settings.configuration_lease_s))
        storage.grant_lake(self.remove, read=["staged", "jobs"], write=["jobs"])

        self.finish = task("finish")
        storage.grant_registry(self.finish, write=True)
        storage.grant_lake(self.finish, read=["jobs"], write=["jobs"])
        let_sample(self.finish, settings)

        self.fail = task("fail")
        storage.grant_registry(self.fail, write=True)
        storage.grant_lake(self.fail, read=["jobs"], write=["jobs"])

        self.discard = task("discard")
        storage.allow_registry(self.discard, "dynamodb:GetItem", "dynamodb:PutItem")
        # It finds what it deletes, and need not read it.
        storage.grant_lake(self.discard, listed=["raw", "rejected"], delete_versions=["raw", "rejected"])

        self.all = (
            *(self.plan, self.validate, self.decide, self.apply, self.remove, self.finish, self.fail),
            self.discard,
        )


class IngestMachine(Construct):
    """Plan, validate every chunk, decide about the whole batch, apply every chunk, remove what it replaces, finish.

    Or, for a batch that was taken back, delete its files.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        functions: IngestFunctions,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._bucket = storage.lake.bucket
        self.machine = make_machine(
            self,
            settings=settings,
            name="ingest",
            definition=self._definition(functions),
            functions=functions.all,
            manifests=storage,
            maps=("Validate", "Apply", "Remove"),
        )

    def _definition(self, functions: IngestFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="IngestFailed", cause="The batch's record says why")
        record_failure = make_task(self, "Fail", functions.fail, self._settings).next(failed)

        plan = make_task(self, "Plan", functions.plan, self._settings)
        validate = self._map("Validate", functions.validate)
        decide = make_task(self, "Decide", functions.decide, self._settings)
        apply = self._map("Apply", functions.apply, again=True)
        remove = self._map("Remove", functions.remove, again=True, manifest="$.removals_key")
        finish = make_task(self, "Finish", functions.finish, self._settings)
        discard = make_task(self, "Discard", functions.discard, self._settings)
        for state in (plan, validate, decide, apply, remove, finish, discard):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        done = sfn.Succeed(self, "Done")
        finish.next(done)
        has_chunks = sfn.Condition.number_greater_than("$.chunks", 0)
        to_apply = sfn.Condition.string_equals("$.verdict", "apply")
        apply.next(
            sfn.Choice(self, "Anything to remove")
            .when(sfn.Condition.number_greater_than("$.removals", 0), remove.next(finish))
            .otherwise(finish)
        )
        decide.next(
            sfn.Choice(self, "Verdict")
            .when(sfn.Condition.and_(to_apply, has_chunks), apply)
            .when(to_apply, finish)
            .otherwise(done)
        )
        plan.next(sfn.Choice(self, "Anything to validate").when(has_chunks, validate.next(decide)).otherwise(decide))
        taken_back = sfn.Condition.is_present("$.discard")
        return sfn.Choice(self, "Taken back?").when(taken_back, discard.next(done)).otherwise(plan)

    def _map(
        self, name: str, function: ServiceFunction, *, again: bool = False, manifest: str = "$.manifest_key"
    ) -> sfn.DistributedMap:
        """Run `function` per object of the manifest; results stay where the worker put them.

        With `again` it is called, with what it answered, until it does not answer that there is `more` to do.
        """
        shards = sfn.DistributedMap(
            self,
            name,
            label=name,
            map_execution_type=sfn.StateMachineType.STANDARD,  # a worker may take longer than an Express run
            max_concurrency=self._settings.map_concurrency,
            item_reader=sfn.S3JsonItemReader(bucket=self._bucket, key=sfn.JsonPath.string_at(manifest)),
            item_selector={
                "batch": {
                    "org_id": sfn.JsonPath.string_at("$.org_id"),
                    "sandbox": sfn.JsonPath.string_at("$.sandbox"),
                    "batch_id": sfn.JsonPath.string_at("$.batch_id"),
                },
                "chunk": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            result_path=sfn.JsonPath.DISCARD,
        )
        worker = make_task(self, f"{name} chunk", function, self._settings)
        if again:
            more = sfn.Choice(self, f"{name} more?")
            more.when(sfn.Condition.is_present("$.more"), worker).otherwise(sfn.Succeed(self, f"{name} done"))
            worker.next(more)
        shards.item_processor(worker)
        return shards


def make_drop(
    scope: Construct,
    *,
    settings: Settings,
    storage: StorageStack,
    dependencies: lambda_.ILayerVersion,
    ingest: sfn.StateMachine,
) -> ServiceFunction:
    """Make the function that turns files of the drop folder into batches."""
    drop = ServiceFunction(
        scope,
        "Drop",
        settings=settings,
        name="drop-take",
        handler="jobs.drop.take",
        environment={**storage.function_environment, "INGEST_STATE_MACHINE_ARN": ingest.state_machine_arn},
        layers=[dependencies],
        memory=WORKER_MEMORY,
        timeout=TIMEOUT,
    )
    storage.allow_registry(drop, "dynamodb:GetItem", "dynamodb:PutItem")
    # Of raw files only whether any is still open is read.
    storage.grant_lake(drop, read=["drop", "raw"], write=["raw", "drop-rejected"], delete_versions=["drop"])
    drop.allow(["states:StartExecution"], [ingest.state_machine_arn])
    storage.drops.topic.add_subscription(subscriptions.LambdaSubscription(drop.function))
    return drop


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
        drop = make_drop(self, settings=settings, storage=storage, dependencies=dependencies, ingest=self.ingest)
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
