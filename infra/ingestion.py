"""The ingest machine: plan, validate, decide, apply, remove, finish; and the drop folder: its files become batches."""

from __future__ import annotations

from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.function import ServiceFunction
from infra.machine import Workers, make_machine, make_task, over_manifest
from infra.sampling import let_sample


class IngestFunctions(Construct):
    """The eight tasks of the ingest machine, each with its own role."""

    def __init__(self, scope: Construct, construct_id: str, workers: Workers) -> None:
        super().__init__(scope, construct_id)
        storage = workers.storage
        task = workers.tasks(self, "ingest")

        self.plan = task("plan", workers.parquet)
        storage.grant_registry(self.plan, write=True)
        storage.grant_lake(self.plan, read=["raw", "staged", "jobs"], write=["jobs"])

        self.validate = task("validate", workers.parquet)
        storage.grant_registry(self.validate)
        storage.grant_lake(self.validate, read=["raw", "jobs"], write=["staged", "rejected", "jobs"])

        self.decide = task("decide")
        storage.grant_registry(self.decide, write=True)
        storage.grant_lake(self.decide, read=["jobs"], write=["jobs"])

        self.apply = task("apply")
        storage.grant_registry(self.apply)
        storage.grant_profile(self.apply, write=True)
        storage.grant_lake(self.apply, read=["staged", "jobs"], write=["jobs", "rejected"])
        self.apply.function.add_environment("CONFIGURATION_LEASE_S", str(workers.settings.configuration_lease_s))

        self.remove = task("remove")
        storage.grant_registry(self.remove)
        storage.grant_profile(self.remove, write=True)
        self.remove.function.add_environment("CONFIGURATION_LEASE_S", str(workers.settings.configuration_lease_s))
        storage.grant_lake(self.remove, read=["staged", "jobs"], write=["jobs"])

        self.finish = task("finish")
        storage.grant_registry(self.finish, write=True)
        storage.grant_lake(self.finish, read=["jobs"], write=["jobs"])
        let_sample(self.finish, workers.settings)

        self.fail = task("fail")
        storage.grant_registry(self.fail, write=True)
        storage.grant_lake(self.fail, read=["jobs"], write=["jobs"])

        self.discard = task("discard")
        storage.allow_registry(self.discard, "dynamodb:GetItem", "dynamodb:PutItem")
        # It finds what it deletes, and need not read it.
        storage.grant_lake(self.discard, listed=["raw", "rejected"], delete_versions=["raw", "rejected"])

        self.all = (
            *(self.plan, self.validate, self.decide, self.apply, self.remove, self.finish, self.fail),
            self.discard,
        )


class IngestMachine(Construct):
    """Plan, validate every chunk, decide about the whole batch, apply every chunk, remove what it replaces, finish.

    Or, for a batch that was taken back, delete its files.
    """

    def __init__(self, scope: Construct, construct_id: str, workers: Workers, functions: IngestFunctions) -> None:
        super().__init__(scope, construct_id)
        self._workers = workers
        self.machine = make_machine(
            self,
            workers,
            name="ingest",
            definition=self._definition(functions),
            functions=functions.all,
            maps=("Validate", "Apply", "Remove"),
        )

    def _definition(self, functions: IngestFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="IngestFailed", cause="The batch's record says why")
        record_failure = make_task(self, "Fail", functions.fail, self._workers).next(failed)

        plan = make_task(self, "Plan", functions.plan, self._workers)
        validate = self._map("Validate", functions.validate)
        decide = make_task(self, "Decide", functions.decide, self._workers)
        apply = self._map("Apply", functions.apply, again=True)
        remove = self._map("Remove", functions.remove, again=True, manifest="$.removals_key")
        finish = make_task(self, "Finish", functions.finish, self._workers)
        discard = make_task(self, "Discard", functions.discard, self._workers)
        for state in (plan, validate, decide, apply, remove, finish, discard):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        done = sfn.Succeed(self, "Done")
        finish.next(done)
        has_chunks = sfn.Condition.number_greater_than("$.chunks", 0)
        to_apply = sfn.Condition.string_equals("$.verdict", "apply")
        apply.next(
            sfn.Choice(self, "Anything to remove")
            .when(sfn.Condition.number_greater_than("$.removals", 0), remove.next(finish))
            .otherwise(finish)
        )
        decide.next(
            sfn.Choice(self, "Verdict")
            .when(sfn.Condition.and_(to_apply, has_chunks), apply)
            .when(to_apply, finish)
            .otherwise(done)
        )
        plan.next(sfn.Choice(self, "Anything to validate").when(has_chunks, validate.next(decide)).otherwise(decide))
        taken_back = sfn.Condition.is_present("$.discard")
        return sfn.Choice(self, "Taken back?").when(taken_back, discard.next(done)).otherwise(plan)

    def _map(
        self, name: str, function: ServiceFunction, *, again: bool = False, manifest: str = "$.manifest_key"
    ) -> sfn.DistributedMap:
        """Run `function` per object of the manifest; results stay where the worker put them.

        With `again` it is called, with what it answered, until it does not answer that there is `more` to do.
        """
        shards = over_manifest(self, name, self._workers, manifest, subject="batch", fields=["batch_id"], item="chunk")
        worker = make_task(self, f"{name} chunk", function, self._workers)
        if again:
            more = sfn.Choice(self, f"{name} more?")
            more.when(sfn.Condition.is_present("$.more"), worker).otherwise(sfn.Succeed(self, f"{name} done"))
            worker.next(more)
        shards.item_processor(worker)
        return shards


def make_drop(scope: Construct, workers: Workers, ingest: sfn.StateMachine) -> ServiceFunction:
    """Make the function that turns files of the drop folder into batches."""
    storage = workers.storage
    drop = ServiceFunction(
        scope,
        "Drop",
        settings=workers.settings,
        name="drop-take",
        handler="jobs.drop.take",
        environment={**storage.function_environment, "INGEST_STATE_MACHINE_ARN": ingest.state_machine_arn},
        layers=[workers.dependencies],
        memory=workers.memory,
        timeout=workers.timeout,
    )
    storage.allow_registry(drop, "dynamodb:GetItem", "dynamodb:PutItem")
    # Of raw files only whether any is still open is read.
    storage.grant_lake(drop, read=["drop", "raw"], write=["raw", "drop-rejected"], delete_versions=["drop"])
    drop.allow(["states:StartExecution"], [ingest.state_machine_arn])
    storage.drops.topic.add_subscription(subscriptions.LambdaSubscription(drop.function))
    return drop
