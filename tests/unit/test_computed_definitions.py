"""Definitions of computed attributes: what may become of one when, whoever asks and however often."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.computed.definition import Definition, Edit, Progress, Status
from tessera.domain.computed.rule import Function
from tessera.domain.computed.window import Unit, Window
from tessera.domain.errors import InvalidRequestError

# In the order in which one follows the other: what failed can be done after all.
BACKFILL = (Status.NEW, Status.INITIALIZING, Status.PROCESSING, Status.FAILED, Status.PROCESSED)
DRAFT = Definition(
    id="7c1e",
    name="spend7d",
    display_name="Spend",
    description="What was spent in a week",
    expression="xEvent.sum(n)",
    window=Window(7, Unit.DAYS),
    function=Function.SUM,
    result_type="number",
    keep_current=False,
    status=Status.DRAFT,
    created_ms=1000,
    created_by="client",
    updated_ms=1000,
)


def at(status: Status, **more: object) -> Definition:
    return replace(DRAFT, status=status, **({"number": 1} | more))  # type: ignore[arg-type]


def test_a_draft_changes_in_what_is_said_and_nothing_else() -> None:
    edit = Edit(description="", expression="xEvent.count()", window=Window(2, Unit.WEEKS), status=Status.NEW)
    assert DRAFT.edited(edit, 2000) == replace(
        DRAFT,
        description="",
        expression="xEvent.count()",
        window=Window(2, Unit.WEEKS),
        status=Status.NEW,
        updated_ms=2000,
    )
    assert DRAFT.edited(Edit(keep_current=True), 2000) == replace(DRAFT, keep_current=True, updated_ms=2000)


@pytest.mark.parametrize("status", [Status.DISABLED, Status.PROCESSING, Status.PROCESSED, Status.FAILED])
def test_a_draft_can_only_be_published(status: Status) -> None:
    with pytest.raises(InvalidRequestError, match="NEW"):
        DRAFT.edited(Edit(status=status), 2000)


@pytest.mark.parametrize("status", BACKFILL)
@pytest.mark.parametrize(
    "edit",
    [
        Edit(name="other"),
        Edit(display_name="other"),
        Edit(description="other"),
        Edit(expression="xEvent.count()"),
        Edit(window=Window(6, Unit.DAYS)),
        Edit(keep_current=True),
        Edit(description="other", status=Status.DISABLED),
    ],
)
def test_what_is_published_is_frozen(status: Status, edit: Edit) -> None:
    with pytest.raises(InvalidRequestError, match=f"is {status}: only a DRAFT can be edited"):
        at(status).edited(edit, 2000)


@pytest.mark.parametrize("status", BACKFILL)
def test_what_is_published_can_be_disabled_and_then_nothing(status: Status) -> None:
    disabled = at(status).edited(Edit(status=Status.DISABLED), 2000)
    assert (disabled.status, disabled.published, disabled.updated_ms) == (Status.DISABLED, False, 2000)
    assert disabled.evaluated_ms == (2000 if status is Status.PROCESSED else None)
    for edit in (Edit(), Edit(status=Status.DISABLED), Edit(status=Status.NEW), Edit(description="x")):
        with pytest.raises(InvalidRequestError, match="stays as it is"):
            disabled.edited(edit, 3000)


@pytest.mark.parametrize("status", BACKFILL)
@pytest.mark.parametrize("wanted", [None, Status.DRAFT, *BACKFILL[1:]])
def test_only_the_service_sets_how_far_a_backfill_is(status: Status, wanted: Status | None) -> None:
    with pytest.raises(InvalidRequestError, match="DISABLED"):
        at(status).edited(Edit(status=wanted), 2000)


def test_publishing_can_be_asked_for_again_until_somebody_began() -> None:
    new = at(Status.NEW)
    assert new.edited(Edit(status=Status.NEW), 2000) is new
    assert new.edited(Edit(description=new.description, status=Status.NEW), 2000) is new
    for status in BACKFILL[1:]:
        with pytest.raises(InvalidRequestError, match="DISABLED"):
            at(status).edited(Edit(status=Status.NEW), 2000)


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(BACKFILL),
        st.none() | st.builds(Progress, st.integers(0, 9), st.just(9)),
        st.sampled_from(["", "out of memory"]),
    )
)


@given(REPORTS)
def test_a_backfill_only_goes_forward_and_saying_it_twice_is_saying_it_once(
    reports: list[tuple[Status, Progress | None, str]],
) -> None:
    now = at(Status.NEW)
    for number, (status, progress, failure) in enumerate(reports):
        time_ms = 2000 + number
        before, now = now, now.advanced(status, time_ms, progress, failure)
        assert now.advanced(status, time_ms + 1, progress, failure) == now
        assert now.status is max(before.status, status, key=BACKFILL.index)
        if before.status is Status.PROCESSED:
            assert now.evaluated_ms == before.evaluated_ms
        assert (now.evaluated_ms is not None) == (now.status is Status.PROCESSED)
        assert (now.updated_ms == time_ms) == (now != before)


@given(REPORTS)
def test_a_backfill_does_not_move_what_is_disabled_or_a_draft(
    reports: list[tuple[Status, Progress | None, str]],
) -> None:
    for status in (Status.DISABLED, Status.DRAFT):
        resting = at(status)
        for report, progress, failure in reports:
            assert resting.advanced(report, 2000, progress, failure) is resting


@given(
    st.builds(
        Definition,
        window=st.builds(Window, st.integers(1, 24), st.sampled_from(Unit)),
        progress=st.none() | st.builds(Progress, st.integers(0, 2**31), st.integers(0, 2**31)),
        created_ms=st.integers(0, 2**53),
        updated_ms=st.integers(0, 2**53),
        number=st.none() | st.integers(1, 2**31),
        evaluated_ms=st.none() | st.integers(0, 2**53),
    )
)
def test_what_is_stored_is_what_is_read(definition: Definition) -> None:
    stored = orjson.loads(orjson.dumps(definition.to_document()))
    assert Definition.from_document(stored) == definition
