"""The gateway: these routes, JSON whatever happens, and no personal data in its log."""

from __future__ import annotations

import json
from typing import Any

from infra.api import ENDPOINTS
from tessera.storage import graph_metrics
from tests.infra.deployment import ROOT, Deployment

ROUTES = {
    "/data/core/ups/access/entities",
    "/data/core/identity",
    "/data/core/identity/{proxy+}",
    "/data/core/idnamespace/identities",
    "/data/core/idnamespace/identities/{proxy+}",
    "/data/core/ups/config/mergePolicies",
    "/data/core/ups/config/mergePolicies/{proxy+}",
    "/data/core/ups/system/jobs",
    "/data/core/ups/system/jobs/{proxy+}",
    "/data/core/ups/export/jobs",
    "/data/core/ups/export/jobs/{proxy+}",
    "/data/core/ups/previewsamplestatus",
    "/data/core/ups/previewsamplestatus/{proxy+}",
    "/data/core/ups/system/jobs/erasures",
    "/data/core/ups/system/jobs/erasures/{proxy+}",
    "/data/core/ups/system/jobs/subjectAccess",
    "/data/core/ca/attributes",
    "/data/core/ca/attributes/{proxy+}",
    "/data/foundation/catalog/dataSets",
    "/data/foundation/catalog/dataSets/{proxy+}",
    "/data/foundation/catalog/v2/dataSets/{proxy+}",
    "/data/foundation/schemaregistry/{proxy+}",
    "/data/foundation/flowservice/connections",
    "/data/foundation/flowservice/connections/{proxy+}",
    "/data/foundation/import/batches",
    "/data/foundation/import/batches/{proxy+}",
    "/data/foundation/catalog/batches",
    "/data/foundation/catalog/batches/{proxy+}",
    "/data/foundation/catalog/batch/{proxy+}",
    "/data/foundation/export/batches/{proxy+}",
    "/data/foundation/export/files/{proxy+}",
    "/collection/{inlet}",
    "/collection/batch/{inlet}",
}


def paths(deployment: Deployment) -> dict[str, str]:
    parts = {name: one["Properties"] for name, one in deployment.resources("AWS::ApiGateway::Resource").items()}

    def path(name: str) -> str:
        parent = parts[name]["ParentId"].get("Ref")
        return f"{path(parent) if parent else ''}/{parts[name]['PathPart']}"

    return {name: path(name) for name in parts}


def test_routes(aws: Deployment) -> None:
    known = paths(aws)
    methods = [one["Properties"] for one in aws.resources("AWS::ApiGateway::Method").values()]
    assert {known[one["ResourceId"]["Ref"]] for one in methods} == ROUTES
    assert {path for endpoint in ENDPOINTS for path in endpoint.paths} == ROUTES
    for method in methods:
        assert method["HttpMethod"] == "ANY"
        assert method["Integration"]["Type"] == "AWS_PROXY"


def test_one_permission_per_function(aws: Deployment) -> None:
    assert len(aws.resources("AWS::Lambda::Permission", "Api")) == len(ENDPOINTS)


def test_bytes_go_both_ways_whatever_a_client_accepts(aws: Deployment) -> None:
    (api,) = aws.resources("AWS::ApiGateway::RestApi").values()
    assert api["Properties"]["BinaryMediaTypes"] == ["*/*"]
    assert api["Properties"]["EndpointConfiguration"]["Types"] == ["REGIONAL"]


def test_stage(aws: Deployment) -> None:
    (stage,) = aws.resources("AWS::ApiGateway::Stage").values()
    properties = stage["Properties"]
    assert properties["TracingEnabled"] is True
    (settings,) = properties["MethodSettings"]
    assert settings["ThrottlingRateLimit"] == 1000
    assert settings["ThrottlingBurstLimit"] == 2000
    assert not settings.get("DataTraceEnabled")


def test_the_access_log_names_no_person(aws: Deployment) -> None:
    (stage,) = aws.resources("AWS::ApiGateway::Stage").values()
    line: dict[str, Any] = json.loads(stage["Properties"]["AccessLogSetting"]["Format"])
    assert "$context.resourcePath" in line.values()
    for personal in ("$context.path", "querystring", "sourceIp", "authorizer", "identity", "header"):
        assert not [value for value in line.values() if personal in value], personal


def test_the_gateway_answers_json_objects(aws: Deployment) -> None:
    answers = {
        one["Properties"]["ResponseType"]: one["Properties"]
        for one in aws.resources("AWS::ApiGateway::GatewayResponse").values()
    }
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "MISSING_AUTHENTICATION_TOKEN"} <= set(answers)
    for answer in answers.values():
        body = json.loads(answer["ResponseTemplates"]["application/json"])
        assert set(body) == {"error_code", "message"}
    missing = answers["MISSING_AUTHENTICATION_TOKEN"]
    assert missing["StatusCode"] == "404"
    assert json.loads(missing["ResponseTemplates"]["application/json"])["error_code"] == "404000"


def test_a_firewall_is_a_switch(aws: Deployment, everything_on: Deployment) -> None:
    assert not aws.resources("AWS::WAFv2::WebACL")
    assert len(everything_on.resources("AWS::WAFv2::WebACLAssociation")) == 1


def test_alarms_are_a_switch(aws: Deployment, everything_on: Deployment) -> None:
    assert not aws.resources("AWS::CloudWatch::Alarm")
    alarms = everything_on.resources("AWS::CloudWatch::Alarm")
    metrics = sum(
        len([one for one in alarm["Properties"].get("Metrics", [{}]) if "Expression" not in one])
        for alarm in alarms.values()
    )
    said = f"{len(alarms)} alarms on {metrics} metrics"
    assert said in (ROOT / "docs/operations.md").read_text()
    assert said in (ROOT / "bench/cost.py").read_text()
    assert all(alarm["Properties"]["AlarmActions"] for alarm in alarms.values())
    # Beyond ten metrics in one expression CloudWatch refuses the alarm.
    assert all(len(alarm["Properties"].get("Metrics", ())) <= 11 for alarm in alarms.values())


def test_an_alarm_watches_what_the_guard_of_graphs_counts(everything_on: Deployment) -> None:
    alarms = [one["Properties"] for one in everything_on.resources("AWS::CloudWatch::Alarm").values()]
    (alarm,) = [one for one in alarms if one.get("MetricName") == graph_metrics.OVER_LIMIT]
    assert alarm["Namespace"] == graph_metrics.NAMESPACE
    assert alarm["Dimensions"] == [{"Name": "service", "Value": graph_metrics.SERVICE}]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["TreatMissingData"]) == ("Sum", 1, "notBreaching")


def test_the_local_base_url_is_the_local_cloud(local: Deployment) -> None:
    outputs = next(body for name, body in local.templates.items() if name.endswith("Api"))["Outputs"]
    assert "http://127.0.0.1:4566/_aws/execute-api" in json.dumps(outputs["BaseUrl"])


def test_functions_know_the_address_that_callers_do(aws: Deployment, local: Deployment) -> None:
    for deployment in (aws, local):
        output = next(body for name, body in deployment.templates.items() if name.endswith("Api"))["Outputs"]["BaseUrl"]
        for function in deployment.resources("AWS::Lambda::Function").values():
            variables = function["Properties"]["Environment"]["Variables"]
            if "-api-" in function["Properties"]["FunctionName"]:
                assert variables["API_BASE_URL"] == output["Value"]
