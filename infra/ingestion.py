"""The ingest machine: plan, validate, decide, apply, remove, finish; and the drop folder: its files become batches."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import make_machine, make_task, task_functions
from infra.sampling import let_sample
from infra.settings import Settings
from infra.storage import StorageStack


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
        memory: int,
        timeout: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        task = task_functions(self, "ingest", settings, storage, layers=[dependencies], memory=memory, timeout=timeout)

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
    memory: int,
    timeout: Duration,
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
        memory=memory,
        timeout=timeout,
    )
    storage.allow_registry(drop, "dynamodb:GetItem", "dynamodb:PutItem")
    # Of raw files only whether any is still open is read.
    storage.grant_lake(drop, read=["drop", "raw"], write=["raw", "drop-rejected"], delete_versions=["drop"])
    drop.allow(["states:StartExecution"], [ingest.state_machine_arn])
    storage.drops.topic.add_subscription(subscriptions.LambdaSubscription(drop.function))
    return drop
