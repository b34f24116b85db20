"""The delete machine: wait until nobody writes who does not know of the delete, then sweep until all is gone."""

from __future__ import annotations

from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import Workers, make_machine, make_task


class DeleteFunctions(Construct):
    """The two tasks of the delete machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage

        task = workers.tasks(self, "delete")

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

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: DeleteFunctions) -> None:
        super().__init__(scope, construct_id)
        failed = sfn.Fail(self, "Failed", error="DeleteFailed", cause="The job's record says why")
        record_failure = make_task(self, "Fail", functions.fail, workers).next(failed)
        sweep = make_task(self, "Sweep", functions.sweep, workers)
        sweep.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")
        waiting = workers.wait_out_writers(self)
        done = sfn.Choice(self, "Done?")
        definition = waiting.next(sweep).next(
            done.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(self, "Done")).otherwise(sweep)
        )
        self.machine = make_machine(self, workers, name="delete", definition=definition, functions=functions.all)
