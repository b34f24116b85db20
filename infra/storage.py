"""Everything that holds something: the two tables, the lake and the pool of callers.

One stack, kept apart from the code, so that no change to a function can ever replace a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from aws_cdk import CfnOutput, Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct, IConstruct

from infra.acknowledge import acknowledge
from infra.function import ServiceFunction
from infra.settings import Settings

READ = ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query")
# A transaction is authorised by the actions inside it.
WRITE = (
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
)


class Tables(Construct):
    """The profile table and the registry."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, key: kms.IKey | None) -> None:
        super().__init__(scope, construct_id)
        self.profile = self._table("Profile", settings, key)
        # Sparse: only items that carry `ik` are in it.
        self.profile.add_global_secondary_index(
            index_name="index",
            partition_key=dynamodb.Attribute(name="ik", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        self.registry = self._table("Registry", settings, key)

    def _table(self, construct_id: str, settings: Settings, key: kms.IKey | None) -> dynamodb.Table:
        return dynamodb.Table(
            self,
            construct_id,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            # DynamoDB always encrypts; with its own key that costs nothing per request.
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else dynamodb.TableEncryption.DEFAULT,
            encryption_key=key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="ttl",
            deletion_protection=settings.deletion_protection,
            removal_policy=RemovalPolicy.RETAIN,
        )


class Lake(Construct):
    """The bucket: raw batches, staged and rejected rows, what jobs pass to their workers."""

    def __init__(self, scope: Construct, construct_id: str, *, key: kms.IKey | None) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
            encryption_key=key,
            bucket_key_enabled=True if key else None,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="leftovers",
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                    noncurrent_version_expiration=Duration.days(30),
                    expired_object_delete_marker=True,
                ),
                s3.LifecycleRule(id="jobs", prefix="jobs/", expiration=Duration.days(30)),
                s3.LifecycleRule(id="rejected", prefix="rejected/", expiration=Duration.days(30)),
                # As long as the registry knows of them.
                s3.LifecycleRule(id="samples", prefix="samples/", expiration=Duration.days(400)),
                # Longer than any message stays in the queue or among the dead letters.
                s3.LifecycleRule(id="stream", prefix="stream/", expiration=Duration.days(30)),
                # Longer than a restore, or a message, may still ask which rows a batch had.
                s3.LifecycleRule(
                    id="places",
                    prefix="places/",
                    tag_filters={"state": "let-go"},
                    expiration=Duration.days(40),
                ),
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
        acknowledge(
            self.bucket,
            "Server access logs are stored and paid for even when nobody calls; every access here is by our own "
            "functions, which log what they do. An account that must have them turns on S3 data events.",
            "S1",
        )


class DropNotices(Construct):
    """The topic to which the lake tells of files in the drop folder.

    A topic and not the function itself, which is in another stack; and not a queue, which Lambda polls day and night,
    nor EventBridge, to which a bucket tells of every object that it has, at a price.
    """

    def __init__(self, scope: Construct, construct_id: str, *, bucket: s3.Bucket) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(self, "Topic", display_name="Files in the drop folder", enforce_ssl=True)
        acknowledge(self.topic, "Notices name objects; what is in them stays in the bucket.", "SNS2")
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("s3.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                # Not by the bucket's name, which is made up only after it was allowed to tell.
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            )
        )
        resource = cast(s3.CfnBucket, bucket.node.default_child)
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            topic_configurations=[
                s3.CfnBucket.TopicConfigurationProperty(
                    event="s3:ObjectCreated:*",
                    topic=self.topic.topic_arn,
                    filter=s3.CfnBucket.NotificationFilterProperty(
                        s3_key=s3.CfnBucket.S3KeyFilterProperty(
                            rules=[s3.CfnBucket.FilterRuleProperty(name="prefix", value="drop/")]
                        )
                    ),
                )
            ]
        )
        # A bucket tries its topic out when it is told of it.
        resource.node.add_dependency(self.topic.node.find_child("Policy"))


class Callers(Construct):
    """The pool that issues access tokens to machines; it has no users and no sign-up."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        self.pool = cognito.UserPool(
            self,
            "Pool",
            user_pool_name=settings.name,
            self_sign_up_enabled=False,
            account_recovery=cognito.AccountRecovery.NONE,
            password_policy=cognito.PasswordPolicy(
                min_length=16,
                require_digits=True,
                require_lowercase=True,
                require_uppercase=True,
                require_symbols=True,
            ),
            feature_plan=cognito.FeaturePlan.LITE,
            deletion_protection=settings.deletion_protection,
            removal_policy=RemovalPolicy.RETAIN,
        )
        scope_ = cognito.ResourceServerScope(scope_name="access", scope_description="Call the API")
        self.pool.add_resource_server("Server", identifier="tessera", scopes=[scope_])
        self.scope = "tessera/access"
        prefix = Fn.join("-", [settings.name, stack.account])
        self.domain = self.pool.add_domain("Domain", cognito_domain=cognito.CognitoDomainOptions(domain_prefix=prefix))
        self.issuer = f"https://cognito-idp.{stack.region}.{stack.url_suffix}/{self.pool.user_pool_id}"
        if settings.local_endpoint:
            # There the issuer in the token is AWS's name while the keys are served by the local cloud.
            self.token_url = f"{settings.local_endpoint}/oauth2/token"
            keys = f"{settings.local_endpoint}/{self.pool.user_pool_id}"
        else:
            self.token_url = f"https://{prefix}.auth.{stack.region}.amazoncognito.com/oauth2/token"
            keys = self.issuer
        self.jwks_url = f"{keys}/.well-known/jwks.json"
        acknowledge(
            self.pool,
            "The pool has no users: only machines with client credentials, so there is nobody to ask for a second "
            "factor, and threat protection (charged per user) watches sign-ins that cannot happen.",
            "COG2",
            "COG3",
            "COG8",
        )


class StorageStack(Stack):
    """Tables, lake and callers, with the grants that other stacks ask for."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, **options: object) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        self.key = (
            kms.Key(self, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.RETAIN)
            if settings.own_key
            else None
        )
        self.tables = Tables(self, "Tables", settings=settings, key=self.key)
        self.lake = Lake(self, "Lake", key=self.key)
        self.drops = DropNotices(self, "Drops", bucket=self.lake.bucket)
        self.callers = Callers(self, "Callers", settings=settings)
        # By a name of its own, so that what cdk-nag says of a grant can be acknowledged by prefix.
        self._lake_export = f"{settings.name}-lake-arn"
        self.lake_arn = self.export_value(self.lake.bucket.bucket_arn, name=self._lake_export)
        self.function_environment = {
            "PROFILE_TABLE": self.tables.profile.table_name,
            "REGISTRY_TABLE": self.tables.registry.table_name,
            "LAKE_BUCKET": self.lake.bucket.bucket_name,
            "TOKEN_ISSUER": self.callers.issuer,
        }
        for name, value in {
            "ProfileTable": self.tables.profile.table_name,
            "RegistryTable": self.tables.registry.table_name,
            "LakeBucket": self.lake.bucket.bucket_name,
            "UserPoolId": self.callers.pool.user_pool_id,
            "TokenUrl": self.callers.token_url,
            "TokenScope": self.callers.scope,
            "TokenIssuer": self.callers.issuer,
            "TokenJwksUrl": self.callers.jwks_url,
        }.items():
            CfnOutput(self, name, value=value)

    def grant_profile(self, to: ServiceFunction, *, write: bool = False) -> None:
        """Let a function read the profile table by key, and write it."""
        self._grant_table(self.tables.profile, to, write=write)

    def grant_registry(self, to: ServiceFunction, *, write: bool = False) -> None:
        """Let a function read the registry, and write it."""
        self._grant_table(self.tables.registry, to, write=write)
        self._grant_named_rows(to)

    def allow_profile(self, to: ServiceFunction, *actions: str) -> None:
        """Let a function make just these calls on the profile table."""
        to.allow(actions, [self.tables.profile.table_arn])
        self._grant_key(to)

    def allow_registry(self, to: ServiceFunction, *actions: str) -> None:
        """Let a function make just these calls on the registry."""
        to.allow(actions, [self.tables.registry.table_arn])
        self._grant_key(to)
        if "dynamodb:GetItem" in actions:
            self._grant_named_rows(to)

    def grant_lake(
        self,
        to: ServiceFunction,
        *,
        read: Sequence[str] = (),
        listed: Sequence[str] = (),
        write: Sequence[str] = (),
        tag: Sequence[str] = (),
        delete: Sequence[str] = (),
        delete_versions: Sequence[str] = (),
    ) -> None:
        """Let a function list and read, write, tag or delete objects below prefixes; versions of them also for good."""
        if read:
            to.allow(["s3:GetObject", "s3:GetObjectVersion"], self.lake_objects(read))
        if read or listed:
            # Without the right to list, a missing object is an access error and cannot be told from a real one.
            to.allow(
                ["s3:ListBucket", "s3:ListBucketVersions"],
                [self.lake_arn],
                {"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in (*read, *listed)]}},
            )
        if write:
            to.allow(
                ["s3:PutObject", "s3:AbortMultipartUpload"],
                self.lake_objects(write),
            )
        if tag:
            to.allow(["s3:PutObjectTagging"], self.lake_objects(tag))
        if delete:
            to.allow(["s3:DeleteObject"], self.lake_objects(delete))
        if delete_versions:
            to.allow(["s3:DeleteObjectVersion"], self.lake_objects(delete_versions))
        self.acknowledge_lake(to.role, {*read, *write, *tag, *delete, *delete_versions})
        self._grant_key(to)

    def lake_objects(self, prefixes: Iterable[str]) -> list[str]:
        """Return the ARNs of everything below the prefixes."""
        return [f"{self.lake_arn}/{prefix}/*" for prefix in prefixes]

    def acknowledge_lake(self, role: IConstruct, prefixes: Iterable[str]) -> None:
        """Accept that a grant on a prefix names the objects below it with a wildcard."""
        acknowledge(
            role,
            "The objects below a prefix of the lake are many by nature; the prefix is the least this needs.",
            *(f"IAM5[Resource::{self._lake_export}/{prefix}/*]" for prefix in sorted(prefixes)),
        )

    def _grant_table(self, table: dynamodb.Table, to: ServiceFunction, *, write: bool) -> None:
        to.allow([*READ, *(WRITE if write else ())], [table.table_arn])
        self._grant_key(to)

    def _grant_named_rows(self, to: ServiceFunction) -> None:
        """Let a function that reads configurations read which streamed rows they say are being deleted."""
        self.grant_lake(to, read=["places"])

    def _grant_key(self, to: ServiceFunction) -> None:
        if self.key:
            to.allow(["kms:Decrypt", "kms:GenerateDataKey"], [self.key.key_arn])
