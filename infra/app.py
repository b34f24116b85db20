"""The app that `cdk` runs: four stacks, the same for AWS and for the local cloud."""

from __future__ import annotations

import os

from aws_cdk import App, Environment, Tags, Validations
from cdk_nag import AwsSolutionsChecks

from infra.api import ApiStack
from infra.jobs import JobsStack
from infra.observability import ObservabilityStack
from infra.settings import LOCAL_ACCOUNT, LOCAL_REGION, Settings
from infra.storage import StorageStack


def build(app: App) -> App:
    """Add the stacks and the checks to `app`."""
    settings = Settings.read(app.node)
    if settings.local:
        where = Environment(account=LOCAL_ACCOUNT, region=LOCAL_REGION)
    else:
        where = Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region=os.environ.get("CDK_DEFAULT_REGION"))
    prefix = settings.name.title().replace("-", "")
    storage = StorageStack(
        app, f"{prefix}Storage", settings=settings, env=where, description="Tessera: tables, lake and callers"
    )
    jobs = JobsStack(
        app,
        f"{prefix}Jobs",
        settings=settings,
        storage=storage,
        env=where,
        description="Tessera: the ingest, delete and backfill machines",
    )
    api = ApiStack(
        app,
        f"{prefix}Api",
        settings=settings,
        storage=storage,
        jobs=jobs,
        env=where,
        description="Tessera: the REST API and its functions",
    )
    if settings.alarms:
        ObservabilityStack(
            app,
            f"{prefix}Observability",
            settings=settings,
            api=api,
            jobs=jobs,
            env=where,
            description="Tessera: alarms",
        )
    Tags.of(app).add("service", settings.name)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return app


if __name__ == "__main__":
    build(App()).synth()
