"""The purge machine: delete what a dataset or a batch brought, then look again until nothing is found."""

from __future__ import annotations

from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import Workers, make_machine, make_task, until_done

_GET, _PUT, _QUERY = "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"
# What a worker is told of the job.
_ROUND = ("job_id", "round")


class PurgeFunctions(Construct):
    """The seven tasks of the purge machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        index = f"{storage.tables.profile.table_arn}/index/index"

        task = workers.tasks(self, "purge")

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
            write=["jobs", "places"],
            tag=["places"],
            delete_versions=["raw", "staged", "rejected", "jobs"],
        )

        self.settle = task("settle")
        storage.allow_registry(self.settle, _GET, _PUT)
        storage.grant_lake(self.settle, read=["jobs"], write=["places"], tag=["places"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, _GET, _PUT)

        self.all = (self.begin, self.plan, self.sweep, self.look, self.discard, self.settle, self.fail)


class PurgeMachine(Construct):
    """Begin, wait, plan, sweep every share, look at every share until a look finds nothing.

    In between, delete from the lake what is to go from there: after the rows that the sweep goes by.
    """

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: PurgeFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name="purge",
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Sweep", "Look"),
        )

    def _definition(self, functions: PurgeFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="PurgeFailed", cause="The system job says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        begin = make_task(self, "Begin", functions.begin, self._workers)
        plan = make_task(self, "Plan", functions.plan, self._workers)
        sweep = until_done(self, "Sweep", functions.sweep, self._workers, fields=_ROUND)
        look = until_done(self, "Look", functions.look, self._workers, fields=_ROUND)
        discard = make_task(self, "Discard", functions.discard, self._workers)
        settle = make_task(self, "Settle", functions.settle, self._workers)
        for state in (begin, plan, sweep, look, discard, settle):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        waiting = self._workers.wait_out_writers(self)
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
