"""The REST API: which path goes to which function, and what each function may touch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from aws_cdk import CfnOutput, Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.erasure import let_accept
from infra.function import ServiceFunction
from infra.jobs import JobsStack
from infra.layers import make_layer
from infra.settings import Settings
from infra.storage import StorageStack

STAGE = "v1"
MEMORY = 1024
# API Gateway gives up at 29 seconds.
TIMEOUT = Duration.seconds(29)


@dataclass(frozen=True)
class Endpoint:
    """One function, the paths it answers (any method) and the grants it needs."""

    name: str
    paths: tuple[str, ...]
    grant: Callable[[ServiceFunction, StorageStack, JobsStack], None]
    # Whether it reads Parquet.
    parquet: bool = False


# Heads change in transactions, each on condition of what was read; rows are the ingestion's alone.
_WRITE_HEADS = ("dynamodb:PutItem", "dynamodb:ConditionCheckItem")


def _entities(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.grant_profile(function)
    storage.grant_registry(function)
    # A delete writes cutoffs on heads together with its job's record, notes them in the journal and starts the sweep.
    storage.grant_lake(function, write=["journal"])
    storage.allow_profile(function, *_WRITE_HEADS)
    storage.allow_registry(function, "dynamodb:PutItem")
    function.allow(["states:StartExecution"], [jobs.delete.state_machine_arn])
    function.function.add_environment("DELETE_STATE_MACHINE_ARN", jobs.delete.state_machine_arn)


def _identities(function: ServiceFunction, storage: StorageStack, _jobs: JobsStack) -> None:
    storage.grant_registry(function, write=True)
    storage.grant_profile(function)
    storage.allow_profile(function, *_WRITE_HEADS)


def _datasets(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.grant_registry(function, write=True)
    function.allow(["states:StartExecution"], [jobs.expiry.state_machine_arn])
    function.function.add_environment("EXPIRY_MACHINE", jobs.expiry.state_machine_arn)
    function.function.add_environment("WRITERS_KNOW_AFTER_S", str(jobs.writers_know_after_s))
    # What a deleted dataset brought is deleted by the purge machine.
    _purging(function, storage, jobs)


def _system_jobs(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem")
    # How far the workers are.
    storage.grant_lake(function, read=["jobs"])
    _purging(function, storage, jobs)


def _purging(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    """Let a function note a delete in the journal and start the machine."""
    # Of streamed rows only whether it is still known in which batch they are.
    storage.grant_lake(function, read=["stream"], write=["journal"])
    function.allow(["states:StartExecution"], [jobs.purge.state_machine_arn])
    function.function.add_environment("PURGE_STATE_MACHINE_ARN", jobs.purge.state_machine_arn)


def _schemas(function: ServiceFunction, storage: StorageStack, _jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem")


def _inlets(function: ServiceFunction, storage: StorageStack, _jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem")


def _batches(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.grant_registry(function, write=True)
    storage.grant_lake(function, read=["raw"], write=["raw"], delete=["raw"])
    function.allow(["states:StartExecution"], [jobs.ingest.state_machine_arn])
    function.function.add_environment("INGEST_STATE_MACHINE_ARN", jobs.ingest.state_machine_arn)


def _data_access(function: ServiceFunction, storage: StorageStack, _jobs: JobsStack) -> None:
    storage.grant_registry(function)
    storage.grant_lake(function, read=["raw", "staged", "rejected", "jobs", "exports"])


def _merge_policies(function: ServiceFunction, storage: StorageStack, _jobs: JobsStack) -> None:
    storage.grant_registry(function, write=True)
    storage.grant_profile(function)
    # A dry run takes its sample of persons from the index.
    function.allow(["dynamodb:Query"], [f"{storage.tables.profile.table_arn}/index/index"])


def _computed_attributes(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem")
    # A preview reads the events of some profiles.
    storage.grant_profile(function)
    function.allow(["states:StartExecution"], [jobs.backfill.state_machine_arn])
    function.function.add_environment("BACKFILL_MACHINE", jobs.backfill.state_machine_arn)


def _streaming(function: ServiceFunction, _storage: StorageStack, jobs: JobsStack) -> None:
    # Finds the inlet and counts in the registry, which processing messages writes anyway.
    jobs.streaming.let_receive(function)


def _export_jobs(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem")
    function.allow(["states:StartExecution"], [jobs.export.state_machine_arn])
    function.function.add_environment("EXPORT_STATE_MACHINE_ARN", jobs.export.state_machine_arn)


def _preview_sample_status(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    storage.allow_registry(function, "dynamodb:GetItem", "dynamodb:PutItem")
    storage.grant_lake(function, read=["samples"])
    function.allow(["states:StartExecution"], [jobs.sample.state_machine_arn])
    function.function.add_environment("SAMPLE_STATE_MACHINE_ARN", jobs.sample.state_machine_arn)


def _erasures(function: ServiceFunction, storage: StorageStack, jobs: JobsStack) -> None:
    # A subject's data and the receipt are read, and holds listed.
    storage.grant_profile(function)
    storage.grant_registry(function)
    let_accept(function, storage)
    function.allow(["states:StartExecution"], [jobs.erase.state_machine_arn])
    function.function.add_environment("ERASE_STATE_MACHINE_ARN", jobs.erase.state_machine_arn)


ENDPOINTS = (
    Endpoint("entities", ("/data/core/ups/access/entities",), _entities),
    Endpoint(
        "identities",
        (
            "/data/core/identity",
            "/data/core/identity/{proxy+}",
            "/data/core/idnamespace/identities",
            "/data/core/idnamespace/identities/{proxy+}",
        ),
        _identities,
    ),
    Endpoint(
        "merge_policies",
        ("/data/core/ups/config/mergePolicies", "/data/core/ups/config/mergePolicies/{proxy+}"),
        _merge_policies,
    ),
    Endpoint(
        "computed_attributes",
        ("/data/core/ca/attributes", "/data/core/ca/attributes/{proxy+}"),
        _computed_attributes,
    ),
    Endpoint(
        "datasets",
        (
            "/data/foundation/catalog/dataSets",
            "/data/foundation/catalog/dataSets/{proxy+}",
            "/data/foundation/catalog/v2/dataSets/{proxy+}",
        ),
        _datasets,
    ),
    Endpoint("system_jobs", ("/data/core/ups/system/jobs", "/data/core/ups/system/jobs/{proxy+}"), _system_jobs),
    Endpoint("export_jobs", ("/data/core/ups/export/jobs", "/data/core/ups/export/jobs/{proxy+}"), _export_jobs),
    Endpoint(
        "preview_sample_status",
        ("/data/core/ups/previewsamplestatus", "/data/core/ups/previewsamplestatus/{proxy+}"),
        _preview_sample_status,
    ),
    Endpoint(
        "erasures",
        (
            "/data/core/ups/system/jobs/erasures",
            "/data/core/ups/system/jobs/erasures/{proxy+}",
            "/data/core/ups/system/jobs/subjectAccess",
        ),
        _erasures,
    ),
    Endpoint("schemas", ("/data/foundation/schemaregistry/{proxy+}",), _schemas),
    Endpoint(
        "inlets",
        ("/data/foundation/flowservice/connections", "/data/foundation/flowservice/connections/{proxy+}"),
        _inlets,
    ),
    Endpoint(
        "batches",
        (
            "/data/foundation/import/batches",
            "/data/foundation/import/batches/{proxy+}",
            "/data/foundation/catalog/batches",
            "/data/foundation/catalog/batches/{proxy+}",
            "/data/foundation/catalog/batch/{proxy+}",
        ),
        _batches,
        parquet=True,
    ),
    Endpoint("streaming", ("/collection/{inlet}", "/collection/batch/{inlet}"), _streaming),
    Endpoint(
        "data_access",
        ("/data/foundation/export/batches/{proxy+}", "/data/foundation/export/files/{proxy+}"),
        _data_access,
    ),
)

# What the gateway answers by itself, in the envelope of the gateway's own errors. Every answer is a JSON
# object: a client of this API repeats a GET for ever when it is not.
_GATEWAY_ANSWERS: dict[str, tuple[apigateway.ResponseType, str, str]] = {
    "NoSuchRoute": (apigateway.ResponseType.MISSING_AUTHENTICATION_TOKEN, "404", "The resource is not found"),
    "TooLarge": (apigateway.ResponseType.REQUEST_TOO_LARGE, "413", "The request body is too large"),
    "Throttled": (apigateway.ResponseType.THROTTLED, "429", "Too many requests"),
    "Timeout": (apigateway.ResponseType.INTEGRATION_TIMEOUT, "504", "The service took too long to answer"),
    "Default4xx": (apigateway.ResponseType.DEFAULT_4_XX, "", "The request is not valid"),
    "Default5xx": (apigateway.ResponseType.DEFAULT_5_XX, "", "The service could not answer"),
}


class RestApi(Construct):
    """The gateway in front of the functions."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        log_group = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/apigateway/{settings.name}",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=settings.name,
            description="Tessera: real-time customer profiles",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # Any: a file comes back as bytes only to who says that it accepts such a type, and Adobe's client accepts
            # application/json whatever it asks for. Text stays text; bodies come in base64, and are counted decoded.
            binary_media_types=["*/*"],
            cloud_watch_role=True,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                tracing_enabled=True,
                access_log_destination=apigateway.LogGroupLogDestination(log_group),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG)),
                throttling_rate_limit=settings.throttle_rate,
                throttling_burst_limit=settings.throttle_burst,
            ),
        )
        for name, (kind, status, message) in _GATEWAY_ANSWERS.items():
            code = f"{status}000" if status else f"{'400' if name == 'Default4xx' else '500'}000"
            self.api.add_gateway_response(
                name,
                type=kind,
                status_code=status or None,
                templates={"application/json": json.dumps({"error_code": code, "message": message})},
            )
        acknowledge(
            self.api,
            "The shared entry point of every function checks the token, the key and the organisation before any "
            "handler runs, and answers the contract's errors to the letter, which an authorizer here cannot; it "
            "also validates requests. A test calls every route with every defect.",
            "APIG2",
            "APIG4",
            "COG4",
        )
        acknowledge(
            self.api,
            "Execution logs would hold paths with customers' identities, in a group without retention.",
            "APIG6",
        )
        if not settings.firewall:
            acknowledge(self.api, "WAF has a monthly price; it is a switch: -c firewall=true.", "APIG3")
        acknowledge(
            self.api,
            "API Gateway writes its access log through one role per account, with the policy AWS gives for it.",
            "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]",
        )

    def route(self, path: str, function: ServiceFunction) -> None:
        """Send any method on `path` to `function`."""
        self.api.root.resource_for_path(path).add_method(
            "ANY",
            apigateway.LambdaIntegration(function.function, scope_permission_to_method=False),
        )


# No path (it holds ids), no query string, no address: nothing personal.
_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "time": "$context.requestTimeEpoch",
    "method": "$context.httpMethod",
    "route": "$context.resourcePath",
    "status": "$context.status",
    "latency": "$context.responseLatency",
    "functionLatency": "$context.integrationLatency",
    "bytes": "$context.responseLength",
    "gatewayError": "$context.error.responseType",
}


class Firewall(Construct):
    """Rate limits per address and AWS's common rules; a switch, for it has a monthly price."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, api: apigateway.RestApi) -> None:
        super().__init__(scope, construct_id)

        def visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
            return waf.CfnWebACL.VisibilityConfigProperty(
                cloud_watch_metrics_enabled=True,
                metric_name=f"{settings.name}-{name}",
                sampled_requests_enabled=False,
            )

        acl = waf.CfnWebACL(
            self,
            "Acl",
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=visible("all"),
            rules=[
                waf.CfnWebACL.RuleProperty(
                    name="rate",
                    priority=0,
                    action=waf.CfnWebACL.RuleActionProperty(block={}),
                    statement=waf.CfnWebACL.StatementProperty(
                        rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                            aggregate_key_type="IP", limit=100_000
                        )
                    ),
                    visibility_config=visible("rate"),
                ),
                waf.CfnWebACL.RuleProperty(
                    name="known-bad",
                    priority=1,
                    override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
                    statement=waf.CfnWebACL.StatementProperty(
                        managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                            vendor_name="AWS", name="AWSManagedRulesKnownBadInputsRuleSet"
                        )
                    ),
                    visibility_config=visible("known-bad"),
                ),
            ],
        )
        waf.CfnWebACLAssociation(
            self, "Association", resource_arn=api.deployment_stage.stage_arn, web_acl_arn=acl.attr_arn
        )


class ApiStack(Stack):
    """The gateway and one function per endpoint."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        storage: StorageStack,
        jobs: JobsStack,
        **options: object,
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        dependencies, parquet = make_layer(self, "dependencies", settings), make_layer(self, "parquet", settings)
        rest = RestApi(self, "Rest", settings=settings)
        self.api = rest.api
        if settings.local_endpoint:
            base = [settings.local_endpoint, "_aws/execute-api", rest.api.rest_api_id, STAGE]
        else:
            base = [f"https://{rest.api.rest_api_id}.execute-api.{self.region}.{self.url_suffix}", STAGE]
        base_url = Fn.join("/", base)
        functions = []
        for endpoint in ENDPOINTS:
            function = ServiceFunction(
                self,
                "".join(part.title() for part in endpoint.name.split("_")),
                settings=settings,
                name=f"api-{endpoint.name.replace('_', '-')}",
                handler=f"api.{endpoint.name}.handler",
                environment={
                    **storage.function_environment,
                    "TOKEN_JWKS_URL": storage.callers.jwks_url,
                    "API_BASE_URL": base_url,
                },
                layers=[dependencies, parquet] if endpoint.parquet else [dependencies],
                memory=MEMORY,
                timeout=TIMEOUT,
            )
            endpoint.grant(function, storage, jobs)
            for path in endpoint.paths:
                rest.route(path, function)
            functions.append(function)
        self.functions = tuple(functions)
        if settings.firewall:
            Firewall(self, "Firewall", settings=settings, api=rest.api)
        CfnOutput(self, "BaseUrl", value=base_url)
