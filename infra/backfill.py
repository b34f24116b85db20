"""The backfill machine: wait until every writer knows the attribute, then complete every stream, share by share."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import make_machine, make_task
from infra.settings import Settings
from infra.storage import StorageStack

_NOTE = ("dynamodb:GetItem", "dynamodb:PutItem")


class BackfillFunctions(Construct):
    """The five tasks of the backfill machine, each with its own role."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        dependencies: lambda_.ILayerVersion,
        memory: int,
        timeout: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        index = f"{storage.tables.profile.table_arn}/index/index"

        def task(name: str) -> ServiceFunction:
            return ServiceFunction(
                self,
                name.title(),
                settings=settings,
                name=f"backfill-{name}",
                handler=f"jobs.backfill.{name}",
                environment=storage.function_environment,
                layers=[dependencies],
                memory=memory,
                timeout=timeout,
            )

        self.begin = task("begin")
        storage.allow_registry(self.begin, *_NOTE)

        self.plan = task("plan")
        storage.allow_registry(self.plan, *_NOTE)
        self.plan.allow(["dynamodb:Query"], [index])
        storage.grant_lake(self.plan, write=["jobs"])

        self.fill = task("fill")
        storage.allow_registry(self.fill, *_NOTE, "dynamodb:Query")
        self.fill.allow(["dynamodb:Query"], [index])
        storage.allow_profile(
            self.fill,
            *("dynamodb:Query", "dynamodb:BatchGetItem"),
            *("dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"),
        )
        storage.grant_lake(self.fill, read=["jobs"], write=["jobs"])

        self.finish = task("finish")
        storage.allow_registry(self.finish, *_NOTE)
        storage.grant_lake(self.finish, read=["jobs"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, *_NOTE)

        self.all = (self.begin, self.plan, self.fill, self.finish, self.fail)


class BackfillMachine(Construct):
    """Begin, wait, plan, fill every share until it is done, finish."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        functions: BackfillFunctions,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.machine = make_machine(
            self,
            settings=settings,
            name="backfill",
            definition=self._definition(functions, storage.lake.bucket),
            functions=functions.all,
            manifests=storage,
            maps=("Fill",),
        )

    def _definition(self, functions: BackfillFunctions, bucket: s3.IBucket) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="BackfillFailed", cause="The computed attribute says why")
        record_failure = make_task(self, "Fail", functions.fail, self._settings).next(failed)

        begin = make_task(self, "Begin", functions.begin, self._settings)
        plan = make_task(self, "Plan", functions.plan, self._settings)
        fill = self._map(functions.fill, bucket)
        finish = make_task(self, "Finish", functions.finish, self._settings)
        for state in (begin, plan, fill, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        # Whoever read the configuration before the attribute was in it writes events that it counts beside the state.
        # The rebuild finds those only if they are there when it reads.
        wait = sfn.Wait(
            self,
            "Wait out writers",
            time=sfn.WaitTime.duration(Duration.seconds(self._settings.writers_know_after_s)),
        )
        done = sfn.Succeed(self, "Done")
        any_work = sfn.Choice(self, "Active?")
        any_shares = sfn.Choice(self, "Anything to fill?")
        finish.next(done)
        begin.next(any_work.when(sfn.Condition.boolean_equals("$.active", True), wait).otherwise(done))
        wait.next(plan)
        plan.next(
            any_shares.when(sfn.Condition.number_greater_than("$.shares", 0), fill.next(finish)).otherwise(finish)
        )
        return begin

    def _map(self, function: ServiceFunction, bucket: s3.IBucket) -> sfn.DistributedMap:
        """Call `function` for each share until it is done; results stay where the worker put them."""
        shares = sfn.DistributedMap(
            self,
            "Fill",
            label="Fill",
            map_execution_type=sfn.StateMachineType.STANDARD,  # a share may take longer than an Express run
            max_concurrency=self._settings.map_concurrency,
            item_reader=sfn.S3JsonItemReader(bucket=bucket, key=sfn.JsonPath.string_at("$.manifest_key")),
            item_selector={
                "job": {
                    "org_id": sfn.JsonPath.string_at("$.org_id"),
                    "sandbox": sfn.JsonPath.string_at("$.sandbox"),
                    "attribute_id": sfn.JsonPath.string_at("$.attribute_id"),
                },
                "share": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            result_path=sfn.JsonPath.DISCARD,
        )
        fill = make_task(self, "Fill share", function, self._settings)
        filled = sfn.Choice(self, "Share done?")
        filled.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(self, "Filled")).otherwise(fill)
        shares.item_processor(fill.next(filled))
        return shares
