"""What the state machines share: log group, role, and tasks that are tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from aws_cdk import CfnElement, Duration, RemovalPolicy, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.function import ServiceFunction
from infra.settings import Settings
from infra.storage import StorageStack

# Neither log delivery nor X-Ray offers a resource to name.
_LOGS_AND_TRACES = (
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
)


@dataclass(frozen=True)
class Workers:
    """What all functions of jobs have in common: who works on a job does so for `timeout` at the most."""

    settings: Settings
    storage: StorageStack
    dependencies: lambda_.ILayerVersion
    parquet: lambda_.ILayerVersion
    memory: int
    timeout: Duration

    def tasks(self, scope: Construct, job: str) -> Callable[..., ServiceFunction]:
        """Return what makes a job's functions: by the name in its module, and layers or a timeout of its own."""

        def task(name: str, *layers: lambda_.ILayerVersion, timeout: Duration | None = None) -> ServiceFunction:
            return ServiceFunction(
                scope,
                name.title(),
                settings=self.settings,
                name=f"{job}-{name}",
                handler=f"jobs.{job}.{name}",
                environment=self.storage.function_environment,
                layers=[self.dependencies, *layers],
                memory=self.memory,
                timeout=timeout or self.timeout,
            )

        return task

    def wait_out_writers(self, scope: Construct, name: str = "Wait out writers") -> sfn.Wait:
        """Make a state that waits until no function runs that does not know of a delete.

        One that read heads or configuration before may still write what the delete reached. No read would see that, but
        it would be left behind. No function runs for longer than this, and waiting costs nothing.
        """
        wait = Duration.seconds(1) if self.settings.local else self.timeout.plus(Duration.minutes(1))
        return sfn.Wait(scope, name, time=sfn.WaitTime.duration(wait))


def make_machine(
    scope: Construct,
    workers: Workers,
    *,
    name: str,
    definition: sfn.IChainable,
    functions: Sequence[ServiceFunction],
    maps: Sequence[str] = (),
    timeout: Duration | None = None,
) -> sfn.StateMachine:
    """Make a traced machine that logs its errors and may invoke `functions`.

    `maps` are the labels of its distributed maps, whose manifests are among the jobs' objects in the lake. An execution
    may take as long as `timeout`, by default a day.
    """
    settings, storage = workers.settings, workers.storage
    log_group = logs.LogGroup(
        scope,
        "Log",
        log_group_name=f"/aws/vendedlogs/states/{settings.name}-{name}",
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
    role = iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal("states.amazonaws.com"),
        description=f"What the {name} machine may do",
        inline_policies={
            "machine": iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        actions=["lambda:InvokeFunction"],
                        resources=[function.function.function_arn for function in functions],
                    ),
                    *(_reading_manifests(storage) if maps else ()),
                    iam.PolicyStatement(actions=list(_LOGS_AND_TRACES), resources=["*"]),
                ]
            )
        },
    )
    acknowledge(role, "Log delivery and X-Ray name no resource.", "IAM5[Resource::*]")
    machine = sfn.StateMachine(
        scope,
        "Machine",
        state_machine_name=f"{settings.name}-{name}",
        definition_body=sfn.DefinitionBody.from_chainable(definition),
        # By hand: what CDK grants for a Distributed Map opens the whole bucket, and for a task every version.
        role=role.without_policy_updates(),
        tracing_enabled=True,
        # Without execution data: rows never pass through a machine, but reasons might quote one.
        logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ERROR, include_execution_data=False),
        timeout=timeout or Duration.hours(24),
        removal_policy=RemovalPolicy.DESTROY,
    )
    acknowledge(
        machine,
        "Errors are logged. Logging every event would cost more than the executions, for a history that Step "
        "Functions keeps by itself for 90 days.",
        "SF1",
    )
    if maps:
        storage.acknowledge_lake(role, ["jobs"])
        _acknowledge_maps(machine, maps)
    return machine


def _reading_manifests(storage: StorageStack) -> list[iam.PolicyStatement]:
    statements = [iam.PolicyStatement(actions=["s3:GetObject"], resources=storage.lake_objects(["jobs"]))]
    if storage.key:
        statements.append(iam.PolicyStatement(actions=["kms:Decrypt"], resources=[storage.key.key_arn]))
    return statements


def _acknowledge_maps(machine: sfn.StateMachine, labels: Sequence[str]) -> None:
    """Accept the policy CDK adds for maps, which run their items as executions of the machine."""
    stack = Stack.of(machine)
    logical_id = stack.resolve(stack.get_logical_id(cast(CfnElement, machine.node.default_child)))
    region = "<AWS::Region>" if Token.is_unresolved(stack.region) else stack.region
    account = "<AWS::AccountId>" if Token.is_unresolved(stack.account) else stack.account
    name = f'{{"Fn::Select":[6,{{"Fn::Split":[":",{{"Ref":"{logical_id}"}}]}}]}}'
    executions = f"Resource::arn:<AWS::Partition>:states:{region}:{account}:execution:{name}"
    acknowledge(
        machine,
        "Step Functions makes up the names of a map's executions.",
        *(f"IAM5[{executions}{label}:*]" for label in ("", *(f"/{label}" for label in labels))),
    )


def make_task(scope: Construct, name: str, function: ServiceFunction, workers: Workers) -> tasks.LambdaInvoke:
    """Make a state that invokes a function, again after a failure of whatever kind."""
    state = tasks.LambdaInvoke(
        scope,
        name,
        lambda_function=function.function,
        payload_response_only=True,
        retry_on_service_exceptions=False,
    )
    state.add_retry(
        errors=["States.ALL"],
        max_attempts=workers.settings.task_attempts,
        interval=Duration.seconds(1),
        backoff_rate=2,
        max_delay=Duration.minutes(1),
        jitter_strategy=sfn.JitterType.FULL,
    )
    return state


def over_manifest(
    scope: Construct,
    name: str,
    workers: Workers,
    manifest: str,
    *,
    subject: str = "job",
    fields: Sequence[str] = ("job_id",),
    item: str = "share",
) -> sfn.DistributedMap:
    """Make a map over the array in the lake whose key is at `manifest`; results stay where the functions put them.

    A function is given an `item` of it, and the `subject`: organisation, sandbox, and these fields of the state.
    """
    return sfn.DistributedMap(
        scope,
        name,
        label=name,
        map_execution_type=sfn.StateMachineType.STANDARD,  # an item may take longer than an Express run
        max_concurrency=workers.settings.map_concurrency,
        item_reader=sfn.S3JsonItemReader(bucket=workers.storage.lake.bucket, key=sfn.JsonPath.string_at(manifest)),
        item_selector={
            subject: {field: sfn.JsonPath.string_at(f"$.{field}") for field in ("org_id", "sandbox", *fields)},
            item: sfn.JsonPath.object_at("$$.Map.Item.Value"),
        },
        result_path=sfn.JsonPath.DISCARD,
    )


def until_done(
    scope: Construct,
    name: str,
    function: ServiceFunction,
    workers: Workers,
    manifest: str = "$.manifest_key",
    *,
    fields: Sequence[str] = ("job_id",),
) -> sfn.DistributedMap:
    """Make a map that calls a function for each share of a manifest until it answers that the share is done."""
    shares = over_manifest(scope, name, workers, manifest, fields=fields)
    worker = make_task(scope, f"{name} share", function, workers)
    done = sfn.Choice(scope, f"{name} share done?")
    done.when(sfn.Condition.boolean_equals("$.done", True), sfn.Succeed(scope, f"{name} share over")).otherwise(worker)
    shares.item_processor(worker.next(done))
    return shares
