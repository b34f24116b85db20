"""The jobs: each a state machine of plan, workers and finish."""

from __future__ import annotations

from typing import Any, cast

from aws_cdk import CfnElement, CfnOutput, Duration, RemovalPolicy, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.function import ServiceFunction
from infra.layers import make_layer
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
        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/vendedlogs/states/{settings.name}-ingest",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = self._role(storage, functions)
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=f"{settings.name}-ingest",
            definition_body=sfn.DefinitionBody.from_chainable(self._definition(functions)),
            # By hand: what CDK grants for a Distributed Map opens the whole bucket.
            role=role.without_policy_updates(),
            tracing_enabled=True,
            # Without execution data: rows never pass through the machine, but reasons might quote one.
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ERROR, include_execution_data=False),
            timeout=Duration.hours(24),
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(role, "Log delivery and X-Ray name no resource.", "IAM5[Resource::*]")
        storage.acknowledge_lake(role, ["jobs"])
        self._acknowledge_maps()
        acknowledge(
            self.machine,
            "Errors are logged. Logging every event would cost more than the executions, for a history that Step "
            "Functions keeps by itself for 90 days.",
            "SF1",
        )

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

    def _role(self, storage: StorageStack, functions: IngestFunctions) -> iam.Role:
        statements = [
            iam.PolicyStatement(
                actions=["lambda:InvokeFunction"],
                resources=[task.function.function_arn for task in functions.all],
            ),
            iam.PolicyStatement(actions=["s3:GetObject"], resources=storage.lake_objects(["jobs"])),
            iam.PolicyStatement(
                actions=[
                    "logs:CreateLogDelivery",
                    "logs:GetLogDelivery",
                    "logs:UpdateLogDelivery",
                    "logs:DeleteLogDelivery",
                    "logs:ListLogDeliveries",
                    "logs:PutResourcePolicy",
                    "logs:DescribeResourcePolicies",
                    "logs:DescribeLogGroups",
                    "xray:PutTraceSegments",
                    "xray:PutTelemetryRecords",
                    "xray:GetSamplingRules",
                    "xray:GetSamplingTargets",
                ],
                resources=["*"],
            ),
        ]
        if storage.key:
            statements.append(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[storage.key.key_arn]))
        return iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
            description="What the ingest machine may do",
            inline_policies={"machine": iam.PolicyDocument(statements=statements)},
        )

    def _definition(self, functions: IngestFunctions) -> sfn.IChainable:
        failed = sfn.Fail(self, "Failed", error="IngestFailed", cause="The batch's record says why")
        record_failure = self._task("Fail", functions.fail).next(failed)

        plan = self._task("Plan", functions.plan)
        validate = self._map("Validate", functions.validate)
        decide = self._task("Decide", functions.decide)
        apply = self._map("Apply", functions.apply)
        finish = self._task("Finish", functions.finish)
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

    def _task(self, name: str, function: ServiceFunction) -> tasks.LambdaInvoke:
        state = tasks.LambdaInvoke(
            self,
            name,
            lambda_function=function.function,
            payload_response_only=True,
            retry_on_service_exceptions=False,
        )
        self._retry(state)
        return state

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
        shards.item_processor(self._task(f"{name} chunk", function))
        return shards

    def _retry(self, state: Any) -> None:
        state.add_retry(
            errors=["States.ALL"],
            max_attempts=self._settings.task_attempts,
            interval=Duration.seconds(1),
            backoff_rate=2,
            max_delay=Duration.minutes(1),
            jitter_strategy=sfn.JitterType.FULL,
        )


class JobsStack(Stack):
    """The ingest machine and its tasks."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, storage: StorageStack, **options: object
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        functions = IngestFunctions(
            self,
            "Ingest",
            settings=settings,
            storage=storage,
            dependencies=make_layer(self, "dependencies", settings),
            parquet=make_layer(self, "parquet", settings),
        )
        self.functions = functions.all
        self.ingest = IngestMachine(
            self, "IngestMachine", settings=settings, storage=storage, functions=functions
        ).machine
        CfnOutput(self, "IngestStateMachineArn", value=self.ingest.state_machine_arn)
