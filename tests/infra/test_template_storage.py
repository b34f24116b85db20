"""What holds data is encrypted, recoverable, private, and paid for by use."""

from __future__ import annotations

import pytest
from aws_cdk.assertions import Match, Template

from tessera.services.purging.kept import MESSAGE_DAYS, PLACES_DAYS, RECOVERY_DAYS
from tessera.storage.streamed_rows import LET_GO
from tests.infra.deployment import Deployment


def template(deployment: Deployment, stack: str) -> Template:
    return Template.from_json(next(body for name, body in deployment.templates.items() if name.endswith(stack)))


@pytest.mark.parametrize("which", ["aws", "local"])
def test_tables(which: str, request: pytest.FixtureRequest) -> None:
    tables = request.getfixturevalue(which).resources("AWS::DynamoDB::Table")
    assert len(tables) == 2
    for table in tables.values():
        properties = table["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert properties["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
        assert properties["KeySchema"] == [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ]
        assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
        assert properties.get("DeletionProtectionEnabled", False) is (which == "aws")


def test_only_the_profile_table_has_an_index_and_it_is_sparse_and_narrow(aws: Deployment) -> None:
    indexes = [
        index
        for table in aws.resources("AWS::DynamoDB::Table").values()
        for index in table["Properties"].get("GlobalSecondaryIndexes", [])
    ]
    assert indexes == [
        {
            "IndexName": "index",
            "KeySchema": [{"AttributeName": "ik", "KeyType": "HASH"}, {"AttributeName": "pk", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ]


def test_all_attributes_of_keys_are_strings(aws: Deployment) -> None:
    for table in aws.resources("AWS::DynamoDB::Table").values():
        assert {one["AttributeType"] for one in table["Properties"]["AttributeDefinitions"]} == {"S"}


def test_a_key_of_our_own_is_a_switch(aws: Deployment, everything_on: Deployment) -> None:
    assert not aws.resources("AWS::KMS::Key")
    assert len(everything_on.resources("AWS::KMS::Key")) == 1
    for table in everything_on.resources("AWS::DynamoDB::Table").values():
        assert table["Properties"]["SSESpecification"]["SSEType"] == "KMS"


def test_lake(aws: Deployment) -> None:
    (bucket,) = aws.resources("AWS::S3::Bucket").values()
    properties = bucket["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    (encryption,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "CorsConfiguration" not in properties
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert rules["leftovers"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rules["leftovers"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert {(rules[name]["Prefix"], rules[name]["ExpirationInDays"]) for name in ("jobs", "rejected", "stream")} == {
        ("stream/", 30),
        ("jobs/", 30),
        ("rejected/", 30),
    }
    assert (rules["places"]["Prefix"], rules["places"]["ExpirationInDays"]) == ("places/", PLACES_DAYS)
    (tag,) = rules["places"]["TagFilters"]
    assert f"{tag['Key']}={tag['Value']}" == LET_GO
    assert max(RECOVERY_DAYS, MESSAGE_DAYS) < PLACES_DAYS
    assert bucket["DeletionPolicy"] == "Retain"


def test_the_lake_tells_a_topic_of_dropped_files_and_of_nothing_else(aws: Deployment) -> None:
    (bucket,) = aws.resources("AWS::S3::Bucket").values()
    [(topic, _)] = aws.resources("AWS::SNS::Topic", "Storage").items()
    assert bucket["Properties"]["NotificationConfiguration"] == {
        "TopicConfigurations": [
            {
                "Event": "s3:ObjectCreated:*",
                "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": "drop/"}]}},
                "Topic": {"Ref": topic},
            }
        ]
    }
    [(name, policy)] = aws.resources("AWS::SNS::TopicPolicy", "Storage").items()
    # Storage refuses to tell a topic that it may not publish to.
    assert name in bucket["DependsOn"]
    allowed = [one for one in policy["Properties"]["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    assert [(one["Principal"], one["Action"]) for one in allowed] == [({"Service": "s3.amazonaws.com"}, "sns:Publish")]
    assert allowed[0]["Condition"]["StringEquals"]["aws:SourceAccount"]
    (subscription,) = aws.resources("AWS::SNS::Subscription", "Jobs").values()
    assert subscription["Properties"]["Protocol"] == "lambda"
    assert "Drop" in str(subscription["Properties"]["Endpoint"])


def test_lake_answers_only_over_tls_and_lets_nobody_in(aws: Deployment) -> None:
    (policy,) = aws.resources("AWS::S3::BucketPolicy").values()
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    assert [one["Effect"] for one in statements] == ["Deny"]
    assert statements[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_callers(aws: Deployment) -> None:
    storage = template(aws, "Storage")
    storage.has_resource_properties(
        "AWS::Cognito::UserPoolResourceServer",
        {"Identifier": "tessera", "Scopes": [{"ScopeName": "access", "ScopeDescription": Match.any_value()}]},
    )
    storage.has_resource_properties(
        "AWS::Cognito::UserPool", {"AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True}}
    )
    # Clients come and go at run time, one per customer's system.
    storage.resource_count_is("AWS::Cognito::UserPoolClient", 0)


def test_the_local_cloud_checks_tokens_with_its_own_keys(local: Deployment) -> None:
    outputs = next(body for name, body in local.templates.items() if name.endswith("Storage"))["Outputs"]
    assert "cognito-idp" in str(outputs["TokenIssuer"])
    assert "127.0.0.1" in str(outputs["TokenJwksUrl"])
    assert "127.0.0.1" in str(outputs["TokenUrl"])
