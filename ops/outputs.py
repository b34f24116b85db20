"""What a deployment tells about itself, as `cdk deploy --outputs-file` writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outputs:
    """The outputs of the stacks that programs need."""

    base_url: str
    token_url: str
    token_scope: str
    token_issuer: str
    token_jwks_url: str
    user_pool_id: str
    profile_table: str
    registry_table: str
    lake_bucket: str
    ingest_state_machine_arn: str
    delete_state_machine_arn: str
    erase_state_machine_arn: str
    backfill_state_machine_arn: str
    export_state_machine_arn: str
    purge_state_machine_arn: str
    sample_state_machine_arn: str
    expiry_state_machine_arn: str
    stream_queue_url: str
    window_queue_url: str
    stream_dead_letters_url: str
    window_dead_letters_url: str
    # Where AWS's own calls go: the local cloud, or None for AWS.
    endpoint_url: str | None = None

    @staticmethod
    def read(file: Path, endpoint_url: str | None = None) -> Outputs:
        """Read an outputs file, whatever the stacks are called."""
        values: dict[str, str] = {}
        for stack in json.loads(file.read_text()).values():
            values.update(stack)
        try:
            return Outputs(
                base_url=values["BaseUrl"],
                token_url=values["TokenUrl"],
                token_scope=values["TokenScope"],
                token_issuer=values["TokenIssuer"],
                token_jwks_url=values["TokenJwksUrl"],
                user_pool_id=values["UserPoolId"],
                profile_table=values["ProfileTable"],
                registry_table=values["RegistryTable"],
                lake_bucket=values["LakeBucket"],
                ingest_state_machine_arn=values["IngestStateMachineArn"],
                delete_state_machine_arn=values["DeleteStateMachineArn"],
                erase_state_machine_arn=values["EraseStateMachineArn"],
                backfill_state_machine_arn=values["BackfillStateMachineArn"],
                export_state_machine_arn=values["ExportStateMachineArn"],
                purge_state_machine_arn=values["PurgeStateMachineArn"],
                sample_state_machine_arn=values["SampleStateMachineArn"],
                expiry_state_machine_arn=values["ExpiryStateMachineArn"],
                stream_queue_url=values["StreamQueueUrl"],
                window_queue_url=values["WindowQueueUrl"],
                stream_dead_letters_url=values["StreamDeadLettersUrl"],
                window_dead_letters_url=values["WindowDeadLettersUrl"],
                endpoint_url=endpoint_url,
            )
        except KeyError as missing:
            raise ValueError(f"{file} has no output {missing}: was the deployment complete?") from missing

    def environment(self) -> dict[str, str]:
        """Return the environment variables that the functions of this deployment run with."""
        names = {
            "API_BASE_URL": self.base_url,
            "PROFILE_TABLE": self.profile_table,
            "REGISTRY_TABLE": self.registry_table,
            "LAKE_BUCKET": self.lake_bucket,
            "TOKEN_ISSUER": self.token_issuer,
            "TOKEN_JWKS_URL": self.token_jwks_url,
            "INGEST_STATE_MACHINE_ARN": self.ingest_state_machine_arn,
            "DELETE_STATE_MACHINE_ARN": self.delete_state_machine_arn,
            "ERASE_STATE_MACHINE_ARN": self.erase_state_machine_arn,
            "BACKFILL_MACHINE": self.backfill_state_machine_arn,
            "EXPORT_STATE_MACHINE_ARN": self.export_state_machine_arn,
            "PURGE_STATE_MACHINE_ARN": self.purge_state_machine_arn,
            "SAMPLE_STATE_MACHINE_ARN": self.sample_state_machine_arn,
            "EXPIRY_MACHINE": self.expiry_state_machine_arn,
            "STREAM_QUEUE_URL": self.stream_queue_url,
            "WINDOW_QUEUE_URL": self.window_queue_url,
        }
        return {**names, **local_credentials(self.endpoint_url)} if self.endpoint_url else names


def local_credentials(endpoint_url: str) -> dict[str, str]:
    """Return what makes every AWS client talk to the local cloud and to nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # A profile of the developer's must never get in.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
