"""The erase machine: accept who is named, wait out writers, sweep until nothing is left, look through the exports."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import Workers, make_machine, make_task
from infra.storage import StorageStack

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"
# The call that asked for the erasure accepts a short list itself; API Gateway gives it no longer than this.
_CALL = Duration.seconds(30)


class EraseFunctions(Construct):
    """The four tasks of the erase machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage

        task = workers.tasks(self, "erase")

        self.accept = task("accept")
        let_accept(self.accept, storage)

        self.sweep = task("sweep")
        storage.allow_profile(
            self.sweep,
            *(_QUERY, "dynamodb:BatchGetItem"),
            *(_PUT, "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem"),
        )
        storage.allow_registry(self.sweep, _GET, _PUT)
        storage.grant_lake(self.sweep, read=["jobs"], write=["jobs"])
        self.sweep.function.add_environment("STREAM_WINDOW_S", str(workers.settings.stream_window_s))

        self.search = task("search", workers.parquet)
        storage.allow_registry(self.search, _GET, _PUT, _QUERY)
        storage.grant_lake(self.search, read=["jobs", "exports"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)

        self.all = (self.accept, self.sweep, self.search, self.fail)


def let_accept(function: ServiceFunction, storage: StorageStack) -> None:
    """Let a function cut persons off: write heads, note it in registry and journal, and forget who was named."""
    storage.allow_profile(function, "dynamodb:BatchGetItem", _PUT, "dynamodb:ConditionCheckItem")
    storage.allow_registry(function, _GET, _PUT)
    storage.grant_lake(function, read=["jobs"], write=["jobs", "journal"], delete_versions=["jobs"])


class EraseMachine(Construct):
    """Accept, wait, sweep, search; each as often as it takes."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: EraseFunctions) -> None:
        super().__init__(scope, construct_id)
        failed = sfn.Fail(self, "Failed", error="EraseFailed", cause="The job's record says why")
        record_failure = make_task(self, "Fail", functions.fail, workers).next(failed)

        def repeated(name: str, function: ServiceFunction, following: sfn.IChainable) -> sfn.IChainable:
            task = make_task(self, name, function, workers)
            task.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")
            done = sfn.Choice(self, f"{name} done?")
            done.when(sfn.Condition.boolean_equals("$.done", True), following).otherwise(task)
            return task.next(done)

        searching = repeated("Search", functions.search, sfn.Succeed(self, "Done"))
        sweeping = repeated("Sweep", functions.sweep, searching)
        waiting = workers.wait_out_writers(self).next(sweeping)
        accepting = repeated("Accept", functions.accept, waiting)
        call = Duration.seconds(1) if workers.settings.local else _CALL
        definition = sfn.Wait(self, "Wait out the call", time=sfn.WaitTime.duration(call)).next(accepting)
        self.machine = make_machine(self, workers, name="erase", definition=definition, functions=functions.all)
