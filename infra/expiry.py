"""The expiry machine: wait until every writer knows the TTL, then bring what is stored into line, share by share."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.machine import Workers, make_machine, make_task, until_done

_NOTE = ("dynamodb:GetItem", "dynamodb:PutItem")


class ExpiryFunctions(Construct):
    """The four tasks of the expiry machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        index = f"{storage.tables.profile.table_arn}/index/index"

        task = workers.tasks(self, "expire")

        self.plan = task("plan")
        storage.allow_registry(self.plan, *_NOTE)
        self.plan.allow(["dynamodb:Query"], [index])
        storage.grant_lake(self.plan, write=["jobs"])

        self.stamp = task("stamp")
        storage.allow_registry(self.stamp, "dynamodb:GetItem")
        self.stamp.allow(["dynamodb:Query"], [index])
        storage.allow_profile(
            self.stamp,
            *("dynamodb:Query", "dynamodb:BatchGetItem"),
            *("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
        )
        storage.grant_lake(self.stamp, read=["jobs"], write=["jobs"])
        self.stamp.function.add_environment("CONFIGURATION_LEASE_S", str(workers.settings.configuration_lease_s))

        self.finish = task("finish")
        storage.allow_registry(self.finish, *_NOTE)
        storage.grant_lake(self.finish, read=["jobs"])

        self.fail = task("fail")
        storage.allow_registry(self.fail, *_NOTE)

        self.all = (self.plan, self.stamp, self.finish, self.fail)


class ExpiryMachine(Construct):
    """Wait, plan, stamp every share until it is done, finish."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: ExpiryFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name="expiry",
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Stamp",),
        )

    def _definition(self, functions: ExpiryFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="ExpiryFailed", cause="The job's record says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        plan = make_task(self, "Plan", functions.plan, self._workers)
        stamp = until_done(self, "Stamp", functions.stamp, self._workers)
        finish = make_task(self, "Finish", functions.finish, self._workers)
        for state in (plan, stamp, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        # Whoever goes by the settings of before says wrongly until when an event is stored, and not that it is a
        # stream's newest. What they begun last has to show in the index, too, when the streams are listed.
        wait = sfn.Wait(
            self,
            "Wait out writers",
            time=sfn.WaitTime.duration(
                Duration.seconds(self._workers.settings.writers_know_after_s + self._workers.settings.index_lag_s)
            ),
        )
        finish.next(sfn.Succeed(self, "Done"))
        any_shares = sfn.Choice(self, "Anything to stamp?")
        plan.next(
            any_shares.when(sfn.Condition.number_greater_than("$.shares", 0), stamp.next(finish)).otherwise(finish)
        )
        return wait.next(plan)
