"""The sample machine: wait if told to, see whether a sample is due, count every share until it is done, report."""

from __future__ import annotations

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import Workers, make_machine, make_task, until_done
from infra.settings import Settings

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

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        index = f"{storage.tables.profile.table_arn}/index/index"

        task = workers.tasks(self, "sample")

        self.plan = task("plan")
        storage.allow_registry(self.plan, _GET, _PUT)
        self.plan.allow([_QUERY], [index])
        storage.grant_lake(self.plan, read=["jobs"], write=["jobs"])
        self.plan.function.add_environment("SAMPLE_THRESHOLD_PERCENT", f"{workers.settings.sample_threshold_percent:g}")

        self.count = task("count")
        storage.allow_registry(self.count, _GET, _PUT)
        storage.allow_profile(self.count, _QUERY)
        self.count.allow([_QUERY], [index])
        storage.grant_lake(self.count, read=["jobs"], write=["jobs"])

        self.finish = task("finish")
        storage.allow_registry(self.finish, _GET, _PUT, _QUERY)
        storage.grant_lake(self.finish, read=["jobs"], write=["samples"])
        let_sample(self.finish, workers.settings)

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)
        let_sample(self.fail, workers.settings)

        self.all = (self.plan, self.count, self.finish, self.fail)


class SampleMachine(Construct):
    """Wait, plan, count, finish; whatever fails is noted in the state of the sandbox's samples."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: SampleFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name=_NAME,
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Count",),
            # Waiting for a week costs nothing.
            timeout=Duration.days(9),
        )

    def _definition(self, functions: SampleFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="SampleFailed", cause="The state of the sandbox's samples says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        wait = sfn.Wait(self, "Wait", time=sfn.WaitTime.seconds_path("$.wait_s"))
        plan = make_task(self, "Plan", functions.plan, self._workers)
        count = until_done(self, "Count", functions.count, self._workers, "$.shares_key")
        finish = make_task(self, "Finish", functions.finish, self._workers)
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
