"""The sample machine: wait if told to, see whether a sample is due, count every share until it is done, report."""

from __future__ import annotations

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import make_machine, make_task, task_functions
from infra.settings import Settings
from infra.storage import StorageStack

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"
_NAME = "sample"


def let_sample(function: ServiceFunction, settings: Settings) -> None:
    """Let a function start executions of the sample machine.

    By its name: some of the functions that start it are among its tasks, and so are made before it.
    """
    arn = Stack.of(function).format_arn(
        service="states",
        resource="stateMachine",
        resource_name=f"{settings.name}-{_NAME}",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    function.allow(["states:StartExecution"], [arn])
    function.function.add_environment("SAMPLE_STATE_MACHINE_ARN", arn)


class SampleFunctions(Construct):
    """The four tasks of the sample machine, each with its own role."""

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

        task = task_functions(self, "sample", settings, storage, layers=[dependencies], memory=memory, timeout=timeout)

        self.plan = task("plan")
        storage.allow_registry(self.plan, _GET, _PUT)
        self.plan.allow([_QUERY], [index])
        storage.grant_lake(self.plan, read=["jobs"], write=["jobs"])
        self.plan.function.add_environment("SAMPLE_THRESHOLD_PERCENT", f"{settings.sample_threshold_percent:g}")

        self.count = task("count")
        storage.allow_registry(self.count, _GET, _PUT)
        storage.allow_profile(self.count, _QUERY)
        self.count.allow([_QUERY], [index])
        storage.grant_lake(self.count, read=["jobs"], write=["jobs"])

        self.finish = task("finish")
        storage.allow_registry(self.finish, _GET, _PUT, _QUERY)
        storage.grant_lake(self.finish, read=["jobs"], write=["samples"])
        let_sample(self.finish, settings)

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)
        let_sample(self.fail, settings)

        self.all = (self.plan, self.count, self.finish, self.fail)


class SampleMachine(Construct):
    """Wait, plan, count, finish; whatever fails is noted in the state of the sandbox's samples."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        functions: SampleFunctions,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._bucket: s3.IBucket = storage.lake.bucket
        self.machine = make_machine(
            self,
            settings=settings,
            name=_NAME,
            definition=self._definition(functions),
            functions=functions.all,
            manifests=storage,
            maps=("Count",),
            # Waiting for a week costs nothing.
            timeout=Duration.days(9),
        )

    def _definition(self, functions: SampleFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="SampleFailed", cause="The state of the sandbox's samples says why")
        record_failure = make_task(self, "Fail", functions.fail, self._settings).next(failed)

        wait = sfn.Wait(self, "Wait", time=sfn.WaitTime.seconds_path("$.wait_s"))
        plan = make_task(self, "Plan", functions.plan, self._settings)
        count = self._map()
        count_share = make_task(self, "Count share", functions.count, self._settings)
        counted = sfn.Choice(self, "Share done?")
        counted.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(self, "Counted"))
        counted.otherwise(count_share)
        count.item_processor(count_share.next(counted))
        finish = make_task(self, "Finish", functions.finish, self._settings)
        for state in (plan, count, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        wait.next(plan)
        done = sfn.Succeed(self, "Done")
        plan.next(
            sfn.Choice(self, "Is one due?")
            .when(sfn.Condition.number_greater_than("$.shares", 0), count.next(finish).next(done))
            .otherwise(done)
        )
        now = sfn.Condition.number_equals("$.wait_s", 0)
        return sfn.Choice(self, "Now?").when(now, plan).otherwise(wait)

    def _map(self) -> sfn.DistributedMap:
        """Run a map over the shares in the lake; results stay where the workers put them."""
        return sfn.DistributedMap(
            self,
            "Count",
            label="Count",
            map_execution_type=sfn.StateMachineType.STANDARD,  # an item may take longer than an Express run
            max_concurrency=self._settings.map_concurrency,
            item_reader=sfn.S3JsonItemReader(bucket=self._bucket, key=sfn.JsonPath.string_at("$.shares_key")),
            item_selector={
                "job": {
                    "org_id": sfn.JsonPath.string_at("$.org_id"),
                    "sandbox": sfn.JsonPath.string_at("$.sandbox"),
                    "job_id": sfn.JsonPath.string_at("$.job_id"),
                },
                "share": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            result_path=sfn.JsonPath.DISCARD,
        )
