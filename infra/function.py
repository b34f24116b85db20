"""One Lambda function the way every function here is made: own role, own log group, traced, JSON logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.layers import ARCHITECTURE, RUNTIME, function_code
from infra.settings import Settings


class ServiceFunction(Construct):
    """A function with a role that starts with nothing but writing its own log and its traces."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        name: str,
        handler: str,
        environment: Mapping[str, str],
        layers: Sequence[lambda_.ILayerVersion],
        memory: int,
        timeout: Duration,
    ) -> None:
        super().__init__(scope, construct_id)
        function_name = f"{settings.name}-{name}"
        self.log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/{function_name}",
            retention=logs.RetentionDays(_retention(settings.log_retention_days)),
            removal_policy=RemovalPolicy.DESTROY,
        )
        # Not the managed policy that CDK would attach: that one may write to any log group.
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"What {function_name} may do",
        )
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], [self.log_group.log_group_arn])
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            code=function_code(),
            handler=handler,
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            memory_size=memory,
            timeout=timeout,
            role=self.role,
            layers=list(layers),
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            tracing=lambda_.Tracing.ACTIVE,
            environment={
                "POWERTOOLS_SERVICE_NAME": handler.removesuffix(".handler"),
                "POWERTOOLS_LOG_LEVEL": "INFO",
                **environment,
            },
        )
        acknowledge(self.role, "X-Ray's calls name no resource.", "IAM5[Resource::*]")

    def allow(
        self, actions: Sequence[str], resources: Sequence[str], conditions: Mapping[str, object] | None = None
    ) -> None:
        """Add one statement to the function's role."""
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=list(actions), resources=list(resources), conditions=dict(conditions) if conditions else None
            )
        )


def _retention(days: int) -> str:
    return {1: "ONE_DAY", 7: "ONE_WEEK", 14: "TWO_WEEKS", 30: "ONE_MONTH", 90: "THREE_MONTHS", 365: "ONE_YEAR"}[days]
