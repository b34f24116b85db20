"""Random well-typed expressions as text, and profiles whose fields are at times missing, null or of a wrong type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
Draw: TypeAlias = st.DrawFn

# A type is "num", "str", "bool", "time", "nums", "strs", "map", or the name of a schema, with "[]" for a list of such.
SCHEMAS: dict[str, dict[str, str]] = {
    "profile": {
        "n": "num",
        "m": "num",
        "s": "str",
        "u": "str",
        "b": "bool",
        "t": "time",
        "w": "time",
        "ns": "nums",
        "ss": "strs",
        "map": "map",
        "items": "item[]",
        "xEvent": "event[]",
    },
    "item": {"n": "num", "s": "str", "b": "bool", "t": "time", "ns": "nums", "parts": "part[]"},
    "part": {"n": "num", "s": "str"},
    "event": {"timestamp": "time", "kind": "str", "n": "num", "parts": "part[]"},
}
ELEMENTS = {"nums": "num", "strs": "str", "item[]": "item", "part[]": "part", "event[]": "event"}
WORDS = ["", "a", "A", "ab", "aba", "b c", "Ö", "a%", "_", '"', "\\"]
PATTERNS = ["a%", "%b", "_", "%", "a_a", "", "%ö%", "a\\\\%"]
REGULAR = ["a", "^a", "b$", "(a)(b)?", "(?i)A", "[ab]+", "\\\\w", "(b)|(a)"]
FIXED_UNITS = ["millisecond", "seconds", "minute", "hours", "day", "weeks"]
UNITS = [*FIXED_UNITS, "month", "years", "decades", "century"]
PERIODS = ["second", "minute", "hour", "day", "week", "month", "year", "decade"]
RELATIONS = ["=", "!=", "<", "<=", ">", ">="]
DAY = 86_400_000


@dataclass(frozen=True)
class Scope:
    """What names mean at a place: the types of the current item and of the levels around it, and the variables."""

    levels: tuple[str, ...] = ("profile",)
    variables: dict[str, str] = field(default_factory=dict)

    def inside(self, element: str) -> Scope:
        return replace(self, levels=(element, *self.levels))

    def binding(self, **variables: str) -> Scope:
        return replace(self, variables={**self.variables, **variables})

    def with_variables_only(self, **variables: str) -> Scope:
        return Scope((), {**self.variables, **variables})


Construct: TypeAlias = Callable[[Draw, str, Scope, int], str]


def expression(draw: Draw, wanted: str, scope: Scope, depth: int, *, leaf: bool = True) -> str:
    """Write an expression of the type, with at most ``depth`` constructs within each other."""
    leaves = _leaves(draw, wanted, scope)
    if depth <= 0 or (leaf and leaves and draw(st.integers(0, 4)) == 0):
        return _one(draw, leaves) if leaves else _literal(draw, wanted)
    return _one(draw, _COMPOUND.get(wanted, _LISTS))(draw, wanted, scope, depth - 1)


def _one(draw: Draw, options: Sequence[T]) -> T:
    return options[draw(st.integers(0, len(options) - 1))]


def _leaves(draw: Draw, wanted: str, scope: Scope) -> list[str]:
    found = [*_paths(wanted, scope)]
    if wanted in ("num", "str", "bool", "nums", "strs"):
        found.append(_literal(draw, wanted))
    return found


def _paths(wanted: str, scope: Scope) -> list[str]:
    roots = [("^" * level, kind) for level, kind in enumerate(scope.levels)]
    found = ["this"] if scope.levels and scope.levels[0] == wanted else []
    found += ["xEvent"] if wanted == "event[]" else []
    for prefix, kind in roots:
        found += [prefix + path for path in _fields(kind, wanted)]
    for prefix, kind in [("$1", "profile"), *scope.variables.items()]:
        found += [prefix] if kind == wanted else []
        found += [f"{prefix}.{path}" for path in _fields(kind, wanted)]
    return found


def _fields(kind: str, wanted: str) -> list[str]:
    fields = SCHEMAS.get(kind, {})
    found = [name for name, its in fields.items() if its == wanted]
    if wanted in ("nums", "strs"):
        # A path through a list takes the field of each element.
        for name, its in fields.items():
            if its.endswith("[]"):
                found += [f"{name}.{inner}" for inner in _fields(its[:-2], ELEMENTS[wanted])]
                found += [f"{name}.{inner}" for inner in _fields(its[:-2], wanted)]
    return found


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(draw: Draw, wanted: str) -> str:
    if wanted == "num":
        return _one(draw, ["0", "1", "2", "3", "7", "0.5", "2.25", "100"])
    if wanted == "str":
        return quoted(_one(draw, WORDS))
    if wanted == "bool":
        return _one(draw, ["true", "false"])
    if wanted in ("nums", "strs"):
        return f"[{', '.join(_literal(draw, ELEMENTS[wanted]) for _ in range(draw(st.integers(0, 3))))}]"
    return {"time": "$1.t", "map": "$1.map", "item[]": "$1.items", "part[]": "$1.items.parts", "event[]": "xEvent"}[
        wanted
    ]


def _list_of_some(draw: Draw, scope: Scope, depth: int, kinds: tuple[str, ...] = ()) -> tuple[str, str]:
    """Write a list, and tell the type of its elements."""
    kind = _one(draw, list(kinds or ("item[]", "part[]", "event[]")))
    return expression(draw, kind, scope, depth), ELEMENTS[kind]


# Numbers


def _arithmetic(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    operator = _one(draw, ["+", "-", "*", "/", "%"])
    return f"({expression(draw, 'num', scope, depth)} {operator} {expression(draw, 'num', scope, depth)})"


def _negative(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"(-{expression(draw, 'num', scope, depth)})"


def _condition(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    parts = (expression(draw, kind, scope, depth) for kind in ("bool", wanted, wanted))
    return f"if({', '.join(parts)})"


def _let(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["num", "str", "bool", "nums", "item[]", wanted])
    name = f"v{len(scope.variables)}"
    bound = expression(draw, kind, scope, depth)
    return f"(let {name} = ({bound}) in {expression(draw, wanted, scope.binding(**{name: kind}), depth)})"


def _aggregate(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth)
    function = _one(draw, ["sum", "average", "min", "max", "count"])
    kind = _one(draw, ["num", "num", "nums"])
    return f"{items}.{function}({expression(draw, kind, scope.inside(element), depth)})"


def _aggregate_of_numbers(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, 'nums', scope, depth)}.{_one(draw, ['sum', 'average', 'min', 'max', 'count', 'head'])}()"


def _count(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{_list_of_some(draw, scope, depth)[0]}.{_one(draw, ['count()', 'distinct().count()', 'head().n'])}"


def _count_groups(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth)
    return f"{items}.groupBy({expression(draw, 'str', scope.inside(element), depth)}).count()"


def _comprehension(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth)
    name = f"c{len(scope.variables)}"
    inner = scope.binding(**{name: element})
    function = _one(draw, ["sum", "average", "min", "max", "count"])
    where = f" where {expression(draw, 'bool', inner, depth)}" if draw(st.booleans()) else ""
    return f"({function} {expression(draw, 'num', inner, depth)} over {name} from {items}{where})"


def _part_of_time(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, 'time', scope, depth)}.{_one(draw, ['getMonth', 'getYear', 'getDayOfMonth'])}()"


def _clock(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return _one(draw, ["currentMonth()", "currentYear()", "currentDayOfMonth()"])


def _get(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, 'map', scope, depth)}.get({expression(draw, 'str', scope, depth)})"


# Strings


def _group_of_pattern(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f'{expression(draw, "str", scope, depth)}.regexGroup("{_one(draw, REGULAR)}", 0)'


def _head_of_strings(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, 'strs', scope, depth)}.head()"


# Booleans


def _relation(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["num", "num", "str", "time"])
    left, right = expression(draw, kind, scope, depth), expression(draw, kind, scope, depth)
    return f"({left} {_one(draw, RELATIONS)} {right})"


def _equality(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["bool", "nums", "item[]", "map", "str"])
    left, right = expression(draw, kind, scope, depth), expression(draw, kind, scope, depth)
    return f"({left} {_one(draw, ['=', '!='])} {right})"


def _logic(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kinds = [_one(draw, ["bool", "bool", "bool", "item[]"]) for _ in range(draw(st.integers(2, 3)))]
    return f"({_one(draw, [' and ', ' or ']).join(expression(draw, kind, scope, depth) for kind in kinds)})"


def _negation(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["bool", "bool", "part[]"])
    return f"({_one(draw, ['not ', '!'])}{expression(draw, kind, scope, depth)})"


def _membership(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["nums", "strs"])
    left, right = expression(draw, ELEMENTS[kind], scope, depth), expression(draw, kind, scope, depth)
    return f"({left} {_one(draw, ['in', 'notIn'])} {right})"


def _like(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f'({expression(draw, "str", scope, depth)} like "{_one(draw, PATTERNS)}")'


_PREDICATES = [
    "startsWith",
    "doesNotStartWith",
    "endsWith",
    "doesNotEndWith",
    "contains",
    "doesNotContain",
    "equals",
    "notEqualTo",
]


def _string_predicate(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    sensitive = _one(draw, ["", ", true", ", false"])
    argument = expression(draw, "str", scope, depth)
    return f"{expression(draw, 'str', scope, depth)}.{_one(draw, _PREDICATES)}({argument}{sensitive})"


def _matches(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f'{expression(draw, "str", scope, depth)}.matches("{_one(draw, REGULAR)}")'


def _is_null(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["num", "str", "time", "nums", "item[]", "map"])
    return f"{expression(draw, kind, scope, depth)}.{_one(draw, ['isNull', 'isNotNull'])}()"


def _of_sets(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["nums", "strs"])
    function = _one(draw, ["intersects", "subsetOf", "supersetOf"])
    return f"{expression(draw, kind, scope, depth)}.{function}({expression(draw, kind, scope, depth)})"


def _includes(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["nums", "strs"])
    return f"{expression(draw, kind, scope, depth)}.includes({expression(draw, ELEMENTS[kind], scope, depth)})"


def _some(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth, (*ELEMENTS,))
    return f"{items}.exists({expression(draw, 'bool', scope.inside(element), depth)})"


def _quantified(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    bindings = []
    for _ in range(draw(st.integers(1, 2))):
        items, element = _list_of_some(draw, scope, depth, (*ELEMENTS,))
        name = f"q{len(scope.variables)}"
        scope = scope.binding(**{name: element})
        where = (
            f"{_one(draw, [' where ', ' : '])}{expression(draw, 'bool', scope, depth)}" if draw(st.booleans()) else ""
        )
        bindings.append(f"{name} from {items}{where}")
    return f"({_one(draw, ['exists', 'forall'])} {', '.join(bindings)})"


def _occurs(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"({expression(draw, 'time', scope, depth)} occurs {_when(draw, scope, depth)})"


def _when(draw: Draw, scope: Scope, depth: int) -> str:
    direction = _one(draw, ["before", "after", "from"])
    moment = _moment(draw, scope, depth)
    form = draw(st.integers(0, 4))
    if form <= 1:
        count, unit = draw(st.integers(0, 3)), _one(draw, UNITS)
        return f"{_one(draw, RELATIONS)} {count} {unit} {direction} {moment}"
    if form == 2:
        return f"{direction} {moment}"
    if form == 3:
        return f"{_one(draw, ['', 'on '])}{moment}"
    return f"between {moment} and {_moment(draw, scope, depth)}"


def _moment(draw: Draw, scope: Scope, depth: int) -> str:
    form = draw(st.integers(0, 4))
    if form <= 1:
        return _one(draw, ["now", "today", "yesterday", "tomorrow"])
    if form == 2:
        return f"{_one(draw, ['this', 'last', 'next'])} {_one(draw, PERIODS)}"
    if form == 3:
        return _one(draw, ["date(2024, 2, 29)", "date(2025, 6, 15)", "date(2024, 12, 31)", "date(2025, 3, 1)"])
    return expression(draw, "time", scope, depth)


def _chain(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    inner = scope.inside("event")
    steps = []
    for number in range(draw(st.integers(1, 3))):
        step = f"S{number}: WHAT({expression(draw, 'bool', inner, min(depth, 1))})"
        if draw(st.integers(0, 2)) == 0:
            step += f" WHEN({_when(draw, inner, 0)})"
        if draw(st.integers(0, 3)) == 0:
            step += f" WHERE({expression(draw, 'bool', inner, 0)})"
        if draw(st.integers(0, 2)) == 0:
            step += f" COUNT({draw(st.integers(1, 2))})"
        steps.append(step)
    name = _one(draw, ["chain", "CHAIN"])
    return f"{name}({expression(draw, 'event[]', scope, min(depth, 1))}, timestamp, [{', '.join(steps)}])"


def _in_segment(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"inSegment({quoted(_one(draw, ['one', 'two', 'three', 'four']))})"


# Lists and maps


def _filtered(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items = expression(draw, wanted, scope, depth)
    condition = expression(draw, "bool", scope.inside(ELEMENTS[wanted]), depth)
    return _one(draw, [f"{items}[{condition}]", f"{items}.filter({condition})"])


def _chosen(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = expression(draw, wanted, scope, depth), ELEMENTS[wanted]
    key = expression(draw, _one(draw, ["num", "num", "str", "time"]), scope.inside(element), depth)
    return f"{items}.{_one(draw, ['topN', 'bottomN'])}({key}, {draw(st.integers(0, 3))})"


def _distinct(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, wanted, scope, depth)}.distinct()"


def _intersection(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, wanted, scope, depth)}.intersection({expression(draw, wanted, scope, depth)})"


def _selected(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    name = f"s{len(scope.variables)}"
    inner = scope.binding(**{name: ELEMENTS[wanted]})
    condition = expression(draw, "bool", inner, depth)
    return f"(select {name} from {expression(draw, wanted, scope, depth)} where {condition})"


def _mapped(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth, (*ELEMENTS,))
    if draw(st.booleans()):
        return f"{items}.map({expression(draw, ELEMENTS[wanted], scope.inside(element), depth)})"
    name = f"m{len(scope.variables)}"
    body = expression(draw, ELEMENTS[wanted], scope.with_variables_only(**{name: element}), depth)
    return f"{items}.map(({name}) => {body})"


def _projected(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth)
    paths = [*_fields(element, ELEMENTS[wanted]), *_fields(element, wanted)] or ["n"]
    return f"{items}.{_one(draw, paths)}"


def _keys(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{expression(draw, 'map', scope, depth)}.{'keys' if wanted == 'strs' else 'values'}()"


def _map_of_groups(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["item[]", "part[]", "event[]"])
    key = expression(draw, "str", scope.inside(ELEMENTS[kind]), min(depth, 1))
    names = f"k{len(scope.variables)}", f"g{len(scope.variables)}"
    inner = scope.with_variables_only(**{names[0]: "str", names[1]: kind})
    value = expression(draw, "num", inner, depth)
    items = expression(draw, kind, scope, depth)
    return f"{items}.groupBy({key}).map(({', '.join(names)}) => mapEntry({names[0]}, {value}))"


def _groups_as_objects(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    kind = _one(draw, ["item[]", "part[]", "event[]"])
    key = expression(draw, "str", scope.inside(ELEMENTS[kind]), min(depth, 1))
    value = expression(draw, "num", scope.inside(kind), depth)
    items = expression(draw, kind, scope, depth)
    return f'{items}.groupBy({key}).map({{"n": this.count(), v: {value}}})'


def _objects(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    items, element = _list_of_some(draw, scope, depth)
    inner = scope.inside(element)
    return f'{items}.map({{"a": {expression(draw, "num", inner, depth)}, b: {expression(draw, "str", inner, depth)}}})'


def _head(draw: Draw, wanted: str, scope: Scope, depth: int) -> str:
    return f"{_list_of_some(draw, scope, depth)[0]}.head()"


_SETS: list[Construct] = [
    _filtered,
    _chosen,
    _distinct,
    _intersection,
    _selected,
    _mapped,
    _projected,
    _keys,
    _condition,
    _let,
]
_LISTS: list[Construct] = [_filtered, _filtered, _chosen, _distinct, _selected, _condition, _let]
_COMPOUND: dict[str, list[Construct]] = {
    "num": [
        _arithmetic,
        _arithmetic,
        _negative,
        _condition,
        _let,
        _aggregate,
        _aggregate,
        _aggregate_of_numbers,
        _count,
        _count_groups,
        _comprehension,
        _part_of_time,
        _clock,
        _get,
    ],
    "str": [_condition, _let, _group_of_pattern, _head_of_strings],
    "time": [_condition, _let],
    "bool": [
        _relation,
        _relation,
        _equality,
        _logic,
        _logic,
        _negation,
        _membership,
        _like,
        _string_predicate,
        _matches,
        _is_null,
        _of_sets,
        _includes,
        _some,
        _quantified,
        _quantified,
        _occurs,
        _occurs,
        _occurs,
        _chain,
        _in_segment,
    ],
    "nums": _SETS,
    "strs": _SETS,
    "map": [_map_of_groups, _condition, _let],
    "objects": [_groups_as_objects, _objects],
    "object": [_head],
}

KINDS = ["bool", "bool", "bool", "num", "num", "str", "nums", "strs", "item[]", "event[]", "map", "objects", "object"]


# Clocks and profiles


def _ms(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


BOUNDARIES = [
    _ms(iso)
    for iso in (
        "2024-02-29T00:00:00Z",
        "2024-03-01T00:00:00Z",
        "2024-03-31T12:00:00Z",
        "2023-03-31T00:00:00Z",
        "2025-01-01T00:00:00Z",
        "2025-06-15T00:00:00Z",
        "2025-06-18T15:30:00Z",
        "2025-05-31T10:00:00Z",
        "2020-01-01T00:00:00Z",
    )
]
_STEPS = [0, 1, 1000, 60_000, 3_600_000, DAY, 7 * DAY, 28 * DAY, 29 * DAY, 30 * DAY, 31 * DAY, 365 * DAY, 366 * DAY]


WEIRD = [1, "a", True, [], {}, [1, "a"], [[1]], {"n": 1}, "2025-06-18", [None]]


def _time(random: Random, now: int) -> str | int:
    """Make a time near the clock or near the end of a period, in one of the forms that there are."""
    start = random.choice([now, now, now // DAY * DAY, *BOUNDARIES])
    shift = random.choice(_STEPS) * random.choice([-2, -1, -1, 1]) + random.choice([0, 0, -1, 1])
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=start + shift)
    form = random.randrange(5)
    if form == 0:
        return start + shift
    if form == 1:
        return moment.date().isoformat()
    if form == 2:
        return (moment + timedelta(hours=2)).isoformat(timespec="milliseconds").replace("+00:00", "+02:00")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z" if form == 3 else "")


def _value(random: Random, kind: str, now: int, wrong: bool) -> Any:
    match kind:
        case "num":
            return random.choice([0, 1, 2, 3, -1, 0.5, 2.0, 7])
        case "str":
            return random.choice(WORDS)
        case "bool":
            return random.random() < 0.7
        case "time":
            return _time(random, now)
        case "nums":
            return random.choices([0, 1, 2, 3, 0.5, 1.0, None], k=random.randrange(5))
        case "strs":
            return random.choices([*WORDS, None], k=random.randrange(5))
        case "map":
            return {key: random.choice([0, 1, 2.5, None]) for key in random.sample(WORDS[1:], random.randrange(4))}
    return [_object(random, kind[:-2], now, wrong) for _ in range(random.randrange(4))]


def _object(random: Random, schema: str, now: int, wrong: bool) -> dict[str, Any]:
    """Make an object whose fields are missing or null now and then, or of a wrong type if that is wanted."""
    made = {}
    for name, kind in SCHEMAS[schema].items():
        die = random.randrange(20)
        if die > 1:
            made[name] = random.choice(WEIRD) if wrong and die < 4 else _value(random, kind, now, wrong)
        elif die == 1:
            made[name] = None
    return made


def profile_of(seed: int, now: int) -> dict[str, Any]:
    """Make a profile; one in three has wrong types."""
    random = Random(seed)
    profile = _object(random, "profile", now, seed % 3 == 0)
    profile["segmentMembership"] = {
        "ups": {"one": {"status": "realized"}, "two": {"status": "exited"}, "three": {"status": "existing"}}
    }
    return profile


@st.composite
def cases(draw: Draw) -> tuple[str, dict[str, Any], int]:
    """An expression, a profile and a clock."""
    now = draw(st.sampled_from(BOUNDARIES)) + draw(st.sampled_from([0, 0, -1, 1, DAY, -DAY]))
    text = expression(draw, _one(draw, KINDS), Scope(), draw(st.sampled_from([3, 2, 4])), leaf=False)
    return text, profile_of(draw(st.integers(0, 2**32)), now), now
