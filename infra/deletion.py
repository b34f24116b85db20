"""The delete machine: wait until nobody writes who does not know of the delete, then sweep until all is gone."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import make_machine, make_task, task_functions
from infra.settings import Settings
from infra.storage import StorageStack


class DeleteFunctions(Construct):
    """The two tasks of the delete machine, each with its own role."""

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

        task = task_functions(self, "delete", settings, storage, layers=[dependencies], memory=memory, timeout=timeout)

        self.sweep = task("sweep")
        storage.allow_profile(
            self.sweep,
            *("dynamodb:Query", "dynamodb:BatchGetItem"),
            *("dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"),
        )
        storage.allow_registry(self.sweep, "dynamodb:GetItem", "dynamodb:PutItem")

        self.fail = task("fail")
        storage.allow_registry(self.fail, "dynamodb:GetItem", "dynamodb:PutItem")

        self.all = (self.sweep, self.fail)


class DeleteMachine(Construct):
    """Wait, sweep until done."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        functions: DeleteFunctions,
        longest_writer: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        failed = sfn.Fail(self, "Failed", error="DeleteFailed", cause="The job's record says why")
        record_failure = make_task(self, "Fail", functions.fail, settings).next(failed)
        sweep = make_task(self, "Sweep", functions.sweep, settings)
        sweep.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")
        # A function that read the heads before the delete may still write what the delete reached. No read would
        # see that, but it would be left behind. No function runs for longer than this, and waiting costs nothing.
        wait = Duration.seconds(1) if settings.local else longest_writer.plus(Duration.minutes(1))
        waiting = sfn.Wait(self, "Wait out writers", time=sfn.WaitTime.duration(wait))
        done = sfn.Choice(self, "Done?")
        definition = waiting.next(sweep).next(
            done.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(self, "Done")).otherwise(sweep)
        )
        self.machine = make_machine(
            self, settings=settings, name="delete", definition=definition, functions=functions.all
        )
