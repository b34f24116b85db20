"""What becomes of a batch whose rows are judged (contract: data-and-pql §7, scenario 35)."""

from __future__ import annotations

from collections import Counter

import pytest

from tessera.domain.verdict import FileError, Tally, judge, metrics


def tally(rejected: int, rows: int = 100) -> Tally:
    return Tally(rows, rows - rejected, rejected, codes=Counter({"INGEST-1401-400": rejected} if rejected else {}))


@pytest.mark.parametrize(
    ("rejected", "percent", "accepted"),
    [(0, None, True), (1, None, False), (4, 5, True), (5, 5, True), (6, 5, False), (0, 5, True), (99, 100, True),
     (100, 100, False), (1, 0.5, False), (1, 1, True)],
)  # fmt: skip
def test_the_threshold(rejected: int, percent: float | None, accepted: bool) -> None:
    assert judge(tally(rejected), partial_percent=percent, diagnostics=True).accepted is accepted


@pytest.mark.parametrize(
    ("expired", "wrong", "percent", "accepted"),
    [(100, 0, None, True), (50, 0, None, True), (50, 1, None, False), (50, 5, 5, True), (50, 6, 5, False),
     (95, 5, 5, False)],
)  # fmt: skip
def test_what_has_expired_fails_no_batch(expired: int, wrong: int, percent: float | None, accepted: bool) -> None:
    rejected = expired + wrong
    found = Tally(100, 100 - rejected, rejected, codes=Counter({"INGEST-1540-400": expired, "INGEST-1401-400": wrong}))
    verdict = judge(found, partial_percent=percent, diagnostics=True)
    assert verdict.accepted is accepted
    assert ("INGEST-1540-400", expired) in [(one["code"], one["recordCount"]) for one in verdict.errors]


def test_with_diagnostics_every_reason_is_counted_and_summed_up() -> None:
    errors = judge(tally(4), partial_percent=5, diagnostics=True).errors
    assert [(error["code"], error["recordCount"]) for error in errors] == [
        ("INGEST-1401-400", 4),
        ("INGEST-1212-400", 4),
    ]
    assert "96 rows ingested" in errors[-1]["description"]
    assert "0 rows ingested" in judge(tally(6), partial_percent=5, diagnostics=True).errors[-1]["description"]


def test_without_diagnostics_there_is_one_error_and_no_count() -> None:
    [error] = judge(tally(4), partial_percent=5, diagnostics=False).errors
    assert error["code"] == "INGEST-1211-400"
    assert "recordCount" not in error


def test_an_unreadable_file_fails_the_batch_whatever_the_threshold() -> None:
    some = tally(0)
    some.file_errors.append(FileError("a.json", "INGEST-1401-400", "is a JSON array"))
    verdict = judge(some, partial_percent=100, diagnostics=False)
    assert not verdict.accepted
    assert verdict.errors == ({"code": "INGEST-1401-400", "description": "a.json: is a JSON array"},)


def test_no_rows_at_all_is_an_empty_batch() -> None:
    verdict = judge(tally(0, rows=0), partial_percent=100, diagnostics=True)
    assert not verdict.accepted
    assert verdict.errors[0]["code"] == "106"


def test_failed_records_are_input_minus_output() -> None:
    for accepted, failed in ((True, 4), (False, 100)):
        figures = metrics(tally(4), input_files=1, input_bytes=10, partitions=1, accepted=accepted)
        assert figures["failedRecordCount"] == failed == figures["inputRecordCount"] - figures["outputRecordCount"]


def test_adding_tallies_is_adding_rows() -> None:
    both = tally(4)
    both.add(tally(6, rows=10))
    assert (both.rows, both.accepted, both.rejected, both.codes) == (110, 100, 10, Counter({"INGEST-1401-400": 10}))
    assert Tally.from_document(both.to_document()) == both
