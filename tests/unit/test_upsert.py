"""Updating record fragments: whatever the order of processing, the outcome is that of the order of places."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tessera.domain.place import Place
from tessera.domain.upsert import Action, Operation, Path, UpdatedFragment
from tessera.domain.upsert.stamps import Stamps

NAMES = ("a", "b", "c")


def at(number: int) -> Place:
    return Place(f"{number:03d}")


def merge(number: int, body: dict[str, Any], *appends: Path) -> Operation:
    return Operation(at(number), Action.MERGE, body, frozenset(appends))


def create(number: int, body: dict[str, Any]) -> Operation:
    return Operation(at(number), Action.CREATE, body)


def delete(number: int) -> Operation:
    return Operation(at(number), Action.DELETE, {})


def applied(operations: Sequence[Operation]) -> UpdatedFragment:
    fragment = UpdatedFragment()
    for operation in operations:
        fragment.apply(operation)
    return fragment


def reread(fragment: UpdatedFragment) -> UpdatedFragment:
    """The fragment after it was stored and read."""
    stamped = fragment.stamps()
    return UpdatedFragment.read(
        fragment.place,
        fragment.floor,
        orjson.loads(orjson.dumps(fragment.body())),
        None if stamped is None else Stamps(*orjson.loads(orjson.dumps([*stamped]))),
    )


class Model:
    """The contract's table taken literally: one operation after the other, on the body alone."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.body: dict[str, Any] = {}
        for operation in sorted(operations, key=lambda operation: operation.place):
            if operation.action is not Action.MERGE:
                self.body = copy.deepcopy(dict(operation.body))
            else:
                self._merge(self.body, operation.body, operation, ())

    def _merge(self, target: dict[str, Any], fields: Any, operation: Operation, path: Path) -> None:
        for name, value in fields.items():
            here = (*path, name)
            if isinstance(value, dict):
                if has_values(value):
                    if not isinstance(target.get(name), dict):
                        target[name] = {}
                    self._merge(target[name], value, operation, here)
            elif here in operation.appends:
                present = target.get(name)
                target[name] = [*(present if isinstance(present, list) else []), *value]
            else:
                target[name] = value


def has_values(value: Any) -> bool:
    return not isinstance(value, dict) or any(map(has_values, value.values()))


SCALARS = st.integers(0, 9) | st.sampled_from(["x", True, [], [1], [{"k": 1}, [2]]])
BODIES = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), SCALARS | inner, max_size=3),
    max_leaves=6,
)


def arrays_of(body: dict[str, Any], path: Path = ()) -> list[Path]:
    found: list[Path] = []
    for name, value in body.items():
        if isinstance(value, dict):
            found += arrays_of(value, (*path, name))
        elif isinstance(value, list):
            found.append((*path, name))
    return found


@st.composite
def operations(draw: st.DrawFn, number: int) -> Operation:
    action = draw(st.sampled_from([Action.MERGE] * 6 + [Action.CREATE, Action.DELETE]))
    body = {} if action is Action.DELETE else draw(BODIES)
    appends = [path for path in arrays_of(body) if action is Action.MERGE and draw(st.booleans())]
    return Operation(at(number), action, body, frozenset(appends))


@st.composite
def processed(draw: st.DrawFn) -> tuple[list[Operation], list[Operation]]:
    """Operations, and the order in which they are processed, some of them again."""
    history = [draw(operations(number)) for number in range(1, draw(st.integers(1, 9)) + 1)]
    repeated = draw(st.lists(st.sampled_from(history), max_size=4))
    return history, draw(st.permutations([*history, *repeated]))


@settings(max_examples=1500, deadline=None)
@given(given_=processed(), read_after=st.sets(st.integers(0, 12)))
def test_any_order_is_the_order_of_places(
    given_: tuple[list[Operation], list[Operation]], read_after: set[int]
) -> None:
    history, order = given_
    fragment = UpdatedFragment()
    for number, operation in enumerate(order):
        fragment.apply(operation)
        if number in read_after:
            fragment = reread(fragment)
    expected = Model(history).body
    assert fragment.body() == expected
    assert fragment.exists == bool(expected)
    in_order = applied(history)
    assert (reread(fragment).stamps(), fragment.place, fragment.floor) == (
        in_order.stamps(),
        in_order.place,
        in_order.floor,
    )
    event("appended" if any(operation.appends for operation in history) else "set")


@settings(max_examples=500, deadline=None)
@given(given_=processed(), cutoff=st.integers(1, 9))
def test_what_a_delete_from_outside_reached_is_gone_whenever_it_is_heard_of(
    given_: tuple[list[Operation], list[Operation]], cutoff: int
) -> None:
    history, order = given_
    fragment = applied(order[: len(order) // 2])
    after_it = Place(at(cutoff) + "~")
    fragment.forget(after_it)
    for operation in order[len(order) // 2 :]:
        fragment.apply(operation)
    assert fragment.body() == Model([operation for operation in history if operation.place > after_it]).body
    assert fragment.floor >= after_it


@settings(max_examples=200, deadline=None)
@given(given_=processed())
def test_operations_are_not_changed(given_: tuple[list[Operation], list[Operation]]) -> None:
    history, order = given_
    before = copy.deepcopy(history)
    applied(order)
    assert history == before


def test_fields_that_are_not_named_keep_their_values() -> None:
    fragment = applied(
        [
            create(1, {"home": {"city": "Oslo", "zip": "1"}, "tags": ["a"], "plan": "basic"}),
            merge(2, {"home": {"city": "Bergen"}, "tags": ["b"]}),
            merge(3, {"tags": ["c"], "home": {}}, ("tags",)),
        ]
    )
    assert fragment.body() == {"home": {"city": "Bergen", "zip": "1"}, "tags": ["b", "c"], "plan": "basic"}
    assert (fragment.place, fragment.floor) == (at(3), at(1))


def test_identities_are_added_and_none_is_taken_away() -> None:
    def row(*values: str, namespace: str = "email") -> dict[str, Any]:
        return {"identityMap": {namespace: [{"id": value} for value in values]}}

    fragment = applied([merge(3, row("c", "a")), merge(1, row("b")), merge(2, row("x", namespace="crmid"))])
    assert fragment.body()["identityMap"] == {
        "email": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
        "crmid": [{"id": "x"}],
    }
    assert reread(fragment).body() == fragment.body()


def test_a_merge_without_a_fragment_is_an_insert_and_a_deleted_one_is_none() -> None:
    assert applied([merge(1, {"a": [1]}, ("a",))]).body() == {"a": [1]}
    gone = applied([merge(1, {"a": 1}), delete(2)])
    assert (gone.exists, gone.body(), gone.stamps(), gone.place) == (False, {}, None, at(2))
    assert not UpdatedFragment().exists


def test_stamps_say_little_where_there_is_little_to_say() -> None:
    """In bytes as stored, for a record of 50 fields."""
    fields = {f"attribute{number:02}": number for number in range(50)}
    fragment = applied([create(1, {"_acme": fields})])
    assert fragment.stamps() is None
    for number in range(2, 102):
        fragment.apply(merge(number, {"_acme": fields}))
    assert len(orjson.dumps([*(fragment.stamps() or ())])) <= 10
    for number in range(102, 202):
        fragment.apply(merge(number, {"_acme": dict.fromkeys(list(fields)[:5], number)}))
    assert len(orjson.dumps([*(fragment.stamps() or ())])) <= 150
