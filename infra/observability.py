"""Alarms: a switch, since each beyond the account's free ten has a monthly price."""

from __future__ import annotations

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.acknowledge import acknowledge
from infra.api import ApiStack
from infra.jobs import JobsStack
from infra.settings import Settings

PERIOD = Duration.minutes(5)
# CloudWatch refuses an alarm on more.
_METRICS_PER_ALARM = 10


class ObservabilityStack(Stack):
    """What someone should hear about: 5xx answers, failing functions and jobs, persons that collapse into one."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        api: ApiStack,
        jobs: JobsStack,
        **options: object,
    ) -> None:
        super().__init__(scope, construct_id, **options)  # type: ignore[arg-type]
        topic = sns.Topic(self, "Topic", display_name=f"{settings.name} alarms", enforce_ssl=True)
        acknowledge(topic, "Alarms hold names and counts; a key of our own has a monthly price.", "SNS2")
        if settings.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))

        def alarm(name: str, description: str, metric: cloudwatch.IMetric) -> None:
            cloudwatch.Alarm(
                self,
                name,
                metric=metric,
                threshold=1,
                evaluation_periods=1,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
                alarm_description=description,
            ).add_alarm_action(actions.SnsAction(topic))

        alarm(
            "ServerErrors",
            "The API answered 5xx: a fault of ours",
            api.api.metric_server_error(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "IngestFailed",
            "An ingest execution failed; the batch's record says why",
            jobs.ingest.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "DeleteFailed",
            "A delete execution failed: what was deleted is not shown, but still stored; the job's record says why",
            jobs.delete.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "PurgeFailed",
            "A delete of data failed: what was deleted is not shown, but still stored; the system job says why",
            jobs.purge.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "EraseFailed",
            "An erase execution failed: see whether the job has acceptedAt, and why it failed in its record",
            jobs.erase.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "BackfillFailed",
            "A backfill execution failed: a computed attribute stays unreadable; its record says why",
            jobs.backfill.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "ExpiryFailed",
            "An expiry execution failed: what has expired is not shown, but still stored; the job's record says why",
            jobs.expiry.metric_failed(period=PERIOD, statistic="Sum"),
        )
        for name, queue in {"Stream": jobs.streaming.messages, "Window": jobs.streaming.windows}.items():
            alarm(
                f"{name}DeadLetters",
                "Streamed messages could not be dealt with and are kept aside: see make replay",
                queue.dead.metric_approximate_number_of_messages_visible(period=PERIOD, statistic="Maximum"),
            )
        alarm(
            "ExportFailed",
            "An export execution failed: the dataset shows what it showed before; the job's record says why",
            jobs.export.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "SampleFailed",
            "A sample execution failed: the reports are those of before; the state of the samples says why",
            jobs.sample.metric_failed(period=PERIOD, statistic="Sum"),
        )
        alarm(
            "GraphsOverLimit",
            "An identity graph grew over the limit: look-ups of all its identities answer 422",
            cloudwatch.Metric(
                namespace="Tessera",
                metric_name="GraphsOverLimit",
                dimensions_map={"service": "graphs"},
                period=PERIOD,
                statistic="Sum",
            ),
        )
        # One per group and not per function: a sum over functions is priced by its metrics, so it saves nothing
        # in money, but one message per fault is enough.
        for name, functions in {"Api": api.functions, "Jobs": jobs.functions}.items():
            for start in range(0, len(functions), _METRICS_PER_ALARM):
                errors = {
                    f"f{number}": function.function.metric_errors(period=PERIOD, statistic="Sum")
                    for number, function in enumerate(functions[start : start + _METRICS_PER_ALARM])
                }
                alarm(
                    f"{name}FunctionErrors{start // _METRICS_PER_ALARM + 1 if start else ''}",
                    f"A function of {name.lower()} raised or timed out",
                    cloudwatch.MathExpression(
                        expression="SUM(METRICS())", using_metrics=dict(errors), period=PERIOD, label=f"{name} errors"
                    ),
                )
