"""The backfill machine: wait until every writer knows the attribute, then complete every stream, share by share."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import Workers, make_machine, make_task, until_done

_NOTE = ("dynamodb:GetItem", "dynamodb:PutItem")


class BackfillFunctions(Construct):
    """The five tasks of the backfill machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        index = f"{storage.tables.profile.table_arn}/index/index"

        task = workers.tasks(self, "backfill")

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

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: BackfillFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name="backfill",
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Fill",),
        )

    def _definition(self, functions: BackfillFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="BackfillFailed", cause="The computed attribute says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        begin = make_task(self, "Begin", functions.begin, self._workers)
        plan = make_task(self, "Plan", functions.plan, self._workers)
        fill = until_done(self, "Fill", functions.fill, self._workers, fields=["attribute_id"])
        finish = make_task(self, "Finish", functions.finish, self._workers)
        for state in (begin, plan, fill, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        # Whoever read the configuration before the attribute was in it writes events that it counts beside the state.
        # The rebuild finds those only if they are there when it reads.
        wait = sfn.Wait(
            self,
            "Wait out writers",
            time=sfn.WaitTime.duration(Duration.seconds(self._workers.settings.writers_know_after_s)),
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
