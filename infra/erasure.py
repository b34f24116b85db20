"""The erase machine: accept who is named, wait out writers, sweep until nothing is left, look through the exports.

In between, if that was asked for, the lake is read and written anew until a reading finds nothing.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import Workers, make_machine, make_task, until_done
from infra.storage import StorageStack

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"
# The call that asked for the erasure accepts a short list itself; API Gateway gives it no longer than this.
_CALL = Duration.seconds(30)
# Where the lake keeps rows.
_ROWS = ("raw", "staged", "rejected", "stream")
# A batch may take a day to be ingested, and a large lake hours to be read, several times.
_LONGEST = Duration.days(3)


class EraseFunctions(Construct):
    """The seven tasks of the erase machine, each with its own role."""

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

        self.plan = task("plan")
        storage.allow_profile(self.plan, "dynamodb:BatchGetItem")
        storage.allow_registry(self.plan, _GET, _QUERY)
        # It lists what there is, and need not read it.
        storage.grant_lake(self.plan, read=["jobs"], listed=[*_ROWS, "drop", "drop-rejected"], write=["jobs"])

        self.look = task("look", workers.parquet)
        storage.allow_registry(self.look, _GET)
        storage.grant_lake(self.look, read=["jobs", *_ROWS], write=["jobs", *_ROWS], delete_versions=_ROWS)

        self.settle = task("settle")
        storage.allow_registry(self.settle, _GET, _PUT, _QUERY)
        storage.grant_lake(self.settle, read=["jobs"])

        self.search = task("search", workers.parquet)
        storage.allow_registry(self.search, _GET, _PUT, _QUERY)
        storage.grant_lake(self.search, read=["jobs", "exports"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)

        self.all = (self.accept, self.sweep, self.plan, self.look, self.settle, self.search, self.fail)


def let_accept(function: ServiceFunction, storage: StorageStack) -> None:
    """Let a function cut persons off: write heads, note it in registry and journal, and forget who was named."""
    storage.allow_profile(function, "dynamodb:BatchGetItem", _PUT, "dynamodb:ConditionCheckItem")
    storage.allow_registry(function, _GET, _PUT)
    storage.grant_lake(function, read=["jobs"], write=["jobs", "journal"], delete_versions=["jobs"])


class EraseMachine(Construct):
    """Accept, wait, sweep, read the lake if that was asked for, search; each as often as it takes."""

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
        plan = make_task(self, "Plan", functions.plan, workers)
        look = until_done(self, "Look", functions.look, workers)
        settle = make_task(self, "Settle", functions.settle, workers)
        for state in (plan, look, settle):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")
        # Whoever read an object before it was written anew may still write what was in it, until then.
        again = workers.wait_out_writers(self, "Wait out readers").next(plan)
        some = sfn.Condition.number_greater_than("$.shares", 0)
        planned = sfn.Choice(self, "Anything to read?").when(sfn.Condition.boolean_equals("$.busy", True), again)
        plan.next(planned.when(some, look.next(settle)).otherwise(settle))
        clean = sfn.Condition.boolean_equals("$.clean", True)
        settle.next(sfn.Choice(self, "Clean?").when(clean, searching).otherwise(again))
        lake = sfn.Choice(self, "Lake?").when(sfn.Condition.boolean_equals("$.lake", True), plan)
        sweeping = repeated("Sweep", functions.sweep, lake.otherwise(searching))
        waiting = workers.wait_out_writers(self).next(sweeping)
        accepting = repeated("Accept", functions.accept, waiting)
        call = Duration.seconds(1) if workers.settings.local else _CALL
        definition = sfn.Wait(self, "Wait out the call", time=sfn.WaitTime.duration(call)).next(accepting)
        self.machine = make_machine(
            self,
            workers,
            name="erase",
            definition=definition,
            functions=functions.all,
            maps=("Look",),
            timeout=_LONGEST,
        )
