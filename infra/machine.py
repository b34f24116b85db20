"""What the state machines share: log group, role, and tasks that are tried again."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.function import ServiceFunction
from infra.settings import Settings

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


def make_machine(
    scope: Construct,
    *,
    settings: Settings,
    name: str,
    definition: sfn.IChainable,
    functions: Sequence[ServiceFunction],
    statements: Sequence[iam.PolicyStatement] = (),
) -> tuple[sfn.StateMachine, iam.Role]:
    """Make a traced machine that logs its errors and may invoke `functions`, and do what `statements` say."""
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
                    *statements,
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
        timeout=Duration.hours(24),
        removal_policy=RemovalPolicy.DESTROY,
    )
    acknowledge(
        machine,
        "Errors are logged. Logging every event would cost more than the executions, for a history that Step "
        "Functions keeps by itself for 90 days.",
        "SF1",
    )
    return machine, role


def make_task(scope: Construct, name: str, function: ServiceFunction, settings: Settings) -> tasks.LambdaInvoke:
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
        max_attempts=settings.task_attempts,
        interval=Duration.seconds(1),
        backoff_rate=2,
        max_delay=Duration.minutes(1),
        jitter_strategy=sfn.JitterType.FULL,
    )
    return state
