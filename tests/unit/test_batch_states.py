"""Whatever steps come, in whatever order: terminal states stay, and the time of completion is given once."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.batch import Batch, BatchStatus
from tessera.domain.errors import InvalidRequestError
from tessera.domain.ulid import ulid

STEPS: dict[str, Callable[[Batch, int], Batch]] = {
    "complete": lambda batch, now: batch.completed(now, "me"),
    "abort": lambda batch, now: batch.given_up(BatchStatus.ABORTED, now, "me"),
    "fail": lambda batch, now: batch.given_up(BatchStatus.FAILED, now, "me"),
    "start": lambda batch, now: batch.started(now),
    "accept": lambda batch, now: batch.accepted({"inputRecordCount": 1}, (), now),
    "refuse": lambda batch, now: batch.refused({"inputRecordCount": 1}, (), now),
    "succeed": lambda batch, now: batch.succeeded({}, now),
    "break": lambda batch, now: batch.broken("why", now),
    "again": lambda batch, now: batch.tried_again(batch.attempt, now),
    "revert": lambda batch, now: batch.withdrawn(now, "me"),
    "replace": lambda batch, now: batch.replaced(now),
    "discard": lambda batch, now: batch.discarded(now),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=25))
def test_no_step_leads_back(steps: list[str]) -> None:
    batch = Batch("b", "d", 1, "me")
    for now, name in enumerate(steps, start=2):
        before = batch
        try:
            batch = STEPS[name](before, now)
        except InvalidRequestError:
            continue
        if before.terminal and batch is not before:
            assert (before.status, batch.status, name) in {
                ("success", "inactive", "revert"),
                ("success", "inactive", "replace"),
                ("inactive", "deleted", "discard"),
            }
        if before.completed_ms:
            assert batch.completed_ms == before.completed_ms
        if before.judged:
            assert batch.judged
            assert batch.status is not BatchStatus.FAILED
        if batch.status is BatchStatus.SUCCESS:
            assert batch.judged
        assert batch.attempt >= before.attempt
        assert Batch.from_document(batch.to_document()) == batch


@given(st.integers(0, 2**47), st.integers(1, 1000), st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1))
def test_ids_sort_by_time(at: int, later: int, one: int, other: int) -> None:
    assert len(ulid(at, one)) == 26
    assert ulid(at, one) < ulid(at + later, other)
