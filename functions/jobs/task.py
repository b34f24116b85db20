"""What every task of a state machine does around its step: it reads whose job it is, and logs one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger

from tessera.domain.tenant import Tenant

Event = Mapping[str, Any]
Answer = dict[str, Any]
Step = Callable[[Tenant, Any, Event], Answer]
Task = Callable[[Event, object], Answer]


def task_maker(
    logger: Logger, told: Callable[[Event], Mapping[str, Any]], *, subject: str = "job", within: str = "job"
) -> Callable[[Step], Task]:
    """Return the decorator that makes tasks of a machine's steps.

    An event is ``{"org_id", "sandbox", "<subject>_id"}``, or an item of a map with that under ``within``. ``told`` says
    what of an event is logged besides the id: nothing that a row holds may be in it.
    """

    def make(step: Step) -> Task:
        def handler(event: Event, context: object) -> Answer:
            job = event.get(within, event)
            subject_id = job[f"{subject}_id"]
            line = {subject: subject_id, **told(event)}
            try:
                answer = step(Tenant(job["org_id"], job["sandbox"]), subject_id, event)
            except Exception as error:
                logger.error("failed", **line, error=type(error).__name__)
                raise
            logger.info("done", **line)
            return answer

        handler.__doc__ = step.__doc__
        return handler

    return make
