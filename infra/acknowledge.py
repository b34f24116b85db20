"""The one way a finding of cdk-nag is accepted: with its exact id, at the construct, with a reason."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(scope: IConstruct, reason: str, *findings: str) -> None:
    """Accept `findings` of the AWS Solutions rules at `scope` and below, because of `reason`."""
    Validations.of(scope).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions-{finding}", reason=reason) for finding in findings)
    )
