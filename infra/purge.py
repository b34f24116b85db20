"""The purge machine: delete what a dataset or a batch brought, then look again until nothing is found."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import make_machine, make_task, task_functions
from infra.settings import Settings
from infra.storage import StorageStack

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"


class PurgeFunctions(Construct):
    """The seven tasks of the purge machine, each with its own role."""

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

        task = task_functions(self, "purge", settings, storage, layers=[dependencies], memory=memory, timeout=timeout)

        self.begin = task("begin")
        storage.allow_registry(self.begin, _GET, _PUT)
        storage.grant_lake(self.begin, write=["journal"])

        self.plan = task("plan")
        storage.allow_registry(self.plan, _GET)
        self.plan.allow([_QUERY], [index])
        storage.grant_lake(self.plan, read=["jobs"], listed=["staged"], write=["jobs"])

        self.sweep, self.look = task("sweep"), task("look")
        for worker in (self.sweep, self.look):
            storage.allow_registry(worker, _GET)
            worker.allow([_QUERY], [index])
            storage.allow_profile(
                worker,
                *(_QUERY, "dynamodb:BatchGetItem"),
                *(_PUT, "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"),
            )
            storage.grant_lake(worker, read=["jobs", "staged", "stream"], write=["jobs"])

        self.discard = task("discard")
        storage.allow_registry(self.discard, _GET, _QUERY)
        # It finds what it deletes, and need not read it.
        storage.grant_lake(
            self.discard,
            read=["jobs"],
            listed=["raw", "staged", "rejected"],
            write=["jobs"],
            delete_versions=["raw", "staged", "rejected", "jobs"],
        )

        self.settle = task("settle")
        storage.allow_registry(self.settle, _GET, _PUT)
        storage.grant_lake(self.settle, read=["jobs"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)

        self.all = (self.begin, self.plan, self.sweep, self.look, self.discard, self.settle, self.fail)


class PurgeMachine(Construct):
    """Begin, wait, plan, sweep every share, look at every share until a look finds nothing.

    In between, delete from the lake what is to go from there: after the rows that the sweep goes by.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        functions: PurgeFunctions,
        longest_writer: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.machine = make_machine(
            self,
            settings=settings,
            name="purge",
            definition=self._definition(functions, storage.lake.bucket, longest_writer),
            functions=functions.all,
            manifests=storage,
            maps=("Sweep", "Look"),
        )

    def _definition(self, functions: PurgeFunctions, bucket: s3.IBucket, longest_writer: Duration) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="PurgeFailed", cause="The system job says why")
        record_failure = make_task(self, "Fail", functions.fail, self._settings).next(failed)

        begin = make_task(self, "Begin", functions.begin, self._settings)
        plan = make_task(self, "Plan", functions.plan, self._settings)
        sweep = self._map("Sweep", functions.sweep, bucket)
        look = self._map("Look", functions.look, bucket)
        discard = make_task(self, "Discard", functions.discard, self._settings)
        settle = make_task(self, "Settle", functions.settle, self._settings)
        for state in (begin, plan, sweep, look, discard, settle):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        # A function that read the configuration before the delete may still write what it reached. No read would see
        # that, but it would be left behind. No function runs for longer than this, and waiting costs nothing.
        wait = Duration.seconds(1) if self._settings.local else longest_writer.plus(Duration.minutes(1))
        waiting = sfn.Wait(self, "Wait out writers", time=sfn.WaitTime.duration(wait))
        done = sfn.Succeed(self, "Done")
        active = sfn.Condition.boolean_equals("$.active", True)
        begin.next(sfn.Choice(self, "Active?").when(active, waiting).otherwise(done))
        waiting.next(plan)
        some = sfn.Condition.number_greater_than("$.shares", 0)
        plan.next(sfn.Choice(self, "Anything to sweep?").when(some, sweep.next(look)).otherwise(discard))
        look.next(discard)
        discarded = sfn.Condition.boolean_equals("$.done", True)
        discard.next(sfn.Choice(self, "Discarded?").when(discarded, settle).otherwise(discard))
        clean = sfn.Condition.boolean_equals("$.clean", True)
        settle.next(sfn.Choice(self, "Clean?").when(clean, done).otherwise(look))
        return begin

    def _map(self, name: str, function: ServiceFunction, bucket: s3.IBucket) -> sfn.DistributedMap:
        """Call `function` for each share until it is done; results stay where the worker put them."""
        shares = sfn.DistributedMap(
            self,
            name,
            label=name,
            map_execution_type=sfn.StateMachineType.STANDARD,  # a share may take longer than an Express run
            max_concurrency=self._settings.map_concurrency,
            item_reader=sfn.S3JsonItemReader(bucket=bucket, key=sfn.JsonPath.string_at("$.manifest_key")),
            item_selector={
                "job": {
                    "org_id": sfn.JsonPath.string_at("$.org_id"),
                    "sandbox": sfn.JsonPath.string_at("$.sandbox"),
                    "job_id": sfn.JsonPath.string_at("$.job_id"),
                    "round": sfn.JsonPath.number_at("$.round"),
                },
                "share": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            result_path=sfn.JsonPath.DISCARD,
        )
        worker = make_task(self, f"{name} share", function, self._settings)
        done = sfn.Choice(self, f"{name} share done?")
        done.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(self, f"{name} over")).otherwise(worker)
        shares.item_processor(worker.next(done))
        return shares
