"""The jobs: each a state machine of plan, workers and finish."""

from __future__ import annotations

from typing import cast

from aws_cdk import CfnElement, CfnOutput, Duration, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.deletion import DeleteFunctions, DeleteMachine
from infra.function import ServiceFunction
from infra.layers import make_layer
from infra.machine import make_machine, make_task
from infra.settings import Settings
from infra.storage import StorageStack

# 1,769 MB is one whole vCPU.
WORKER_MEMORY = 1769
TIMEOUT = Duration.minutes(10)


class IngestFunctions(Construct):
    """The six tasks of the ingest machine, each with its own role."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        dependencies: lambda_.ILayerVersion,
        parquet: lambda_.ILayerVersion,
    ) -> None:
        super().__init__(scope, construct_id)

        def task(name: str, *extra: lambda_.ILayerVersion) -> ServiceFunction:
            return ServiceFunction(
                self,
                name.title(),
                settings=settings,
                name=f"ingest-{name}",
                handler=f"jobs.ingest.{name}",
                environment=storage.function_environment,
                layers=[dependencies, *extra],
                memory=WORKER_MEMORY,
                timeout=TIMEOUT,
            )

        self.plan = task("plan", parquet)
        storage.grant_registry(self.plan, write=True)
        storage.grant_lake(self.plan, read=["raw", "jobs"], write=["jobs"])

        self.validate = task("validate", parquet)
        storage.grant_registry(self.validate)
        storage.grant_lake(self.validate, read=["raw", "jobs"], write=["staged", "rejected", "jobs"])

        self.decide = task("decide")
        storage.grant_registry(self.decide, write=True)
        storage.grant_lake(self.decide, read=["jobs"], write=["jobs"])

        self.apply = task("apply")
        storage.grant_registry(self.apply)
        storage.grant_profile(self.apply, write=True)
        storage.grant_lake(self.apply, read=["staged", "jobs"], write=["jobs", "rejected"])

        self.finish = task("finish")
        storage.grant_registry(self.finish, write=True)
        storage.grant_lake(self.finish, read=["jobs"], write=["jobs"])

        self.fail = task("fail")
        storage.grant_registry(self.fail, write=True)
        storage.grant_lake(self.fail, read=["jobs"], write=["jobs"])

        self.all = (self.plan, self.validate, self.decide, self.apply, self.finish, self.fail)


class IngestMachine(Construct):
    """Plan, validate every chunk, decide about the whole batch, apply every chunk, finish."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        functions: IngestFunctions,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._bucket = storage.lake.bucket
        statements = [iam.PolicyStatement(actions=["s3:GetObject"], resources=storage.lake_objects(["jobs"]))]
        if storage.key:
            statements.append(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[storage.key.key_arn]))
        self.machine, role = make_machine(
            self,
            settings=settings,
            name="ingest",
            definition=self._definition(functions),
            functions=functions.all,
            statements=statements,
        )
        storage.acknowledge_lake(role, ["jobs"])
        self._acknowledge_maps()

    def _acknowledge_maps(self) -> None:
        """Accept the policy CDK adds for the maps, which run their items as executions of the machine."""
        stack = Stack.of(self)
        logical_id = stack.resolve(stack.get_logical_id(cast(CfnElement, self.machine.node.default_child)))
        region = "<AWS::Region>" if Token.is_unresolved(stack.region) else stack.region
        account = "<AWS::AccountId>" if Token.is_unresolved(stack.account) else stack.account
        name = f'{{"Fn::Select":[6,{{"Fn::Split":[":",{{"Ref":"{logical_id}"}}]}}]}}'
        executions = f"Resource::arn:<AWS::Partition>:states:{region}:{account}:execution:{name}"
        acknowledge(
            self.machine,
            "Step Functions makes up the names of a map's executions.",
            *(f"IAM5[{executions}{label}:*]" for label in ("", "/Validate", "/Apply")),
        )

    def _definition(self, functions: IngestFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="IngestFailed", cause="The batch's record says why")
        record_failure = make_task(self, "Fail", functions.fail, self._settings).next(failed)

        plan = make_task(self, "Plan", functions.plan, self._settings)
        validate = self._map("Validate", functions.validate)
        decide = make_task(self, "Decide", functions.decide, self._settings)
        apply = self._map("Apply", functions.apply)
        finish = make_task(self, "Finish", functions.finish, self._settings)
        for state in (plan, validate, decide, apply, finish):
            state.add_catch(record_failure, errors=["States.ALL"], result_path="$.error")

        done = sfn.Succeed(self, "Done")
        finish.next(done)
        has_chunks = sfn.Condition.number_greater_than("$.chunks", 0)
        to_apply = sfn.Condition.string_equals("$.verdict", "apply")
        decide.next(
            sfn.Choice(self, "Verdict")
            .when(sfn.Condition.and_(to_apply, has_chunks), apply.next(finish))
            .when(to_apply, finish)
            .otherwise(done)
        )
        return plan.next(
            sfn.Choice(self, "Anything to validate").when(has_chunks, validate.next(decide)).otherwise(decide)
        )

    def _map(self, name: str, function: ServiceFunction) -> sfn.DistributedMap:
        """Run `function` once per object of the manifest; results stay where the worker put them."""
        shards = sfn.DistributedMap(
            self,
            name,
            label=name,
            map_execution_type=sfn.StateMachineType.STANDARD,  # a worker may take longer than an Express run
            max_concurrency=self._settings.map_concurrency,
            item_reader=sfn.S3JsonItemReader(bucket=self._bucket, key=sfn.JsonPath.string_at("$.manifest_key")),
            item_selector={
                "batch": {
                    "org_id": sfn.JsonPath.string_at("$.org_id"),
                    "sandbox": sfn.JsonPath.string_at("$.sandbox"),
                    "batch_id": sfn.JsonPath.string_at("$.batch_id"),
                },
                "chunk": sfn.JsonPath.object_at("$$.Map.Item.Value"),
            },
            result_path=sfn.JsonPath.DISCARD,
        )
        shards.item_processor(make_task(self, f"{name} chunk", function, self._settings))
        return shards


class JobsStack(Stack):
    """The machines and their tasks."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, storage: StorageStack, **options: object
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        dependencies = make_layer(self, "dependencies", settings)
        ingest = IngestFunctions(
            self,
            "Ingest",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            parquet=make_layer(self, "parquet", settings),
        )
        delete = DeleteFunctions(
            self,
            "Delete",
            settings=settings,
            storage=storage,
            dependencies=dependencies,
            memory=WORKER_MEMORY,
            timeout=TIMEOUT,
        )
        self.functions = (*ingest.all, *delete.all)
        self.ingest = IngestMachine(self, "IngestMachine", settings=settings, storage=storage, functions=ingest).machine
        self.delete = DeleteMachine(
            self, "DeleteMachine", settings=settings, functions=delete, longest_writer=TIMEOUT
        ).machine
        CfnOutput(self, "IngestStateMachineArn", value=self.ingest.state_machine_arn)
        CfnOutput(self, "DeleteStateMachineArn", value=self.delete.state_machine_arn)
