"""Requests that are wrong somewhere: made of what the OpenAPI document says of a route, and then spoilt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson
from hypothesis import strategies as st

from tests.integration.documented import resolved

PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Known:
    """What there is to ask for.

    ``texts`` are by the path of their collection or by the name of a field in lower case, good ``bodies`` by the path
    that they were sent to. ``ids`` are those of all things.
    """

    texts: Mapping[str, Sequence[str]]
    bodies: Mapping[str, Sequence[Any]]
    ids: Sequence[str]

    def collection(self, template: str) -> str:
        """Return the path of the collection that a path with an id is in."""
        return template.rpartition("/{id}")[0]


_FULL = quote("%é\U0001f4a5/..#?")
_TEXTS = [
    *(" ", "\0", "..", "/", "#", "%", "%00", "\n", "\\", "$", "'", '"', "*", "~(", "{}", "[]", "null", "W10", _FULL),
    *("-1", "-0", "1.5", "1e999", "NaN", "9" * 18, "9" * 400, "\u0663", "true", "x" * 10_000, "é\U0001f4a5", "(a+)+$"),
    *("0000-01-01T00:00:00Z", "2026-06-30T23:59:60Z", "2026-01-01T24:00:00Z", "9999-12-31T23:59:59-23:59"),
]
# As they are written, so that there are some that JSON does not have.
_ODD = [
    *(b"null", b"true", b"0", b"-1", b"1.5", b"1e308", b"1e999", b"18446744073709551615", b"9" * 400, b"NaN"),
    *(b'""', b'" "', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"' + b"x" * 10_000 + b'"', b'"' + b"9" * 30 + b'"'),
    *(b"[]", b"{}", b"[null]", b"[[[[]]]]", b'{"":{"":1}}', b'{"a":1,"a":2}', b"[" + b"1," * 2000 + b"1]"),
    *(b'{"' + b"k" * 3_000_000 + b'":1}', b'"' + b"x" * 3_000_000 + b'"', orjson.dumps("\u7c73\U0001f4a5" * 50_000)),
    *(b"[" * deep + b"]" * deep for deep in (98, 500, 10_000)),
]
_HEADERS = {
    "Accept": [
        "application/x-ndjson",
        "application/vnd.adobe.xed-full+json; version=9",
        "application/vnd.adobe.xed-id+json",
    ],
    "Content-Encoding": ["gzip"],
    "Content-Range": ["bytes 0-1/2", "bytes 5-1/2", "bytes 0-99999999999999/1", "bytes \u0663-4/*"],
    "If-Match": ['"1.0.0"', '"', "\ud800", "*"],
    "Range": ["bytes=0-1", "bytes=9-1", "bytes=-", "bytes=99999999999999-", "bytes=0-0,2-3"],
    "x-request-id": ["\ud800", "é", "x" * 500],
    "x-sandbox-name": ["\ud800", "x" * 5000],
}
_MOST_LEVELS = 6


@dataclass(frozen=True)
class BadRequest:
    """What is sent to a route; the path as clients write it."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes | None

    def about(self, others: Mapping[str, str]) -> BadRequest:
        """Return the same request about other things."""

        def renamed(text: str) -> str:
            for name, other in others.items():
                text = text.replace(name, other).replace(quote(name, safe=""), quote(other, safe=""))
            return text

        return replace(
            self,
            path=renamed(self.path),
            query={name: [renamed(one) for one in values] for name, values in self.query.items()},
            body=self.body and renamed(self.body.decode("latin-1")).encode("latin-1"),
        )


@st.composite
def bad_requests(draw: st.DrawFn, method: str, template: str, operation: Mapping[str, Any], known: Known) -> BadRequest:
    """Requests to a route, of which most are wrong in one or two places; ``known`` is what there is to ask for."""
    parameters = [resolved(one) for one in operation["parameters"]]
    path = PARAMETER.sub(lambda match: draw(_segments(template, match[1], known)), template)
    query: dict[str, Sequence[str]] = {}
    for one in (one for one in parameters if one["in"] == "query"):
        if one.get("required") or draw(st.booleans()):
            query[one["name"]] = draw(_query_values(one, known))
    headers = draw(st.dictionaries(st.sampled_from(sorted(_HEADERS)), st.integers(0, 4), max_size=1))
    sent = {name: _HEADERS[name][number % len(_HEADERS[name])] for name, number in headers.items()}
    body = None
    if "requestBody" in operation:
        media, content = draw(st.sampled_from(sorted(operation["requestBody"]["content"].items())))
        good = known.bodies.get(template) or known.bodies.get(known.collection(template))
        values = _values(content.get("schema", {}), "", known)
        body = draw(_bodies(st.one_of(*[st.sampled_from(good)] * 3, values) if good else values))
        sent["Content-Type"] = draw(st.sampled_from([*[media] * 9, "text/plain"]))
    return BadRequest(method, path, query, sent, body)


def _texts(name: str, known: Known) -> st.SearchStrategy[str]:
    odd = st.one_of(st.sampled_from(_TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    hints = known.texts.get(name if name.startswith("/") else name.lower())
    return st.one_of(*[st.sampled_from(hints)] * 12, odd) if hints else odd


@st.composite
def _segments(draw: st.DrawFn, template: str, name: str, known: Known) -> str:
    """A part of a path; what is in the collection, or what there is of that name."""
    return quote(draw(_texts(known.collection(template) if name == "id" else name, known).filter(bool)), safe="")


def _query_values(parameter: Mapping[str, Any], known: Known) -> st.SearchStrategy[list[str]]:
    def written(value: Any) -> list[str]:
        values = value if isinstance(value, list) else [value]
        return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in values] or [""]

    good = _values(parameter.get("schema", {}), parameter["name"], known).map(written)
    return st.one_of(good, good, st.lists(st.sampled_from([*_TEXTS, "\ud800"]), min_size=1, max_size=2))


def _values(schema: Mapping[str, Any], name: str, known: Known, level: int = 0) -> st.SearchStrategy[Any]:
    """Values that a schema allows, as far as this matters."""
    schema = resolved(schema)
    several = schema.get("anyOf") or schema.get("oneOf")
    if several:
        return st.one_of(*(_values(one, name, known, level) for one in several))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    below = level + 1
    match schema.get("type"):
        case "object" if level < _MOST_LEVELS:
            fields = {key: _values(one, key, known, below) for key, one in schema.get("properties", {}).items()}
            required = {key: fields.pop(key) for key in schema.get("required", ()) if key in fields}
            named = st.fixed_dictionaries(required, optional=fields)
            more = schema.get("additionalProperties")
            if not isinstance(more, dict):
                return named
            free = st.dictionaries(_texts("", known), _values(more, name, known, below), max_size=2)
            return st.builds(lambda one, other: {**other, **one}, named, free)
        case "array" if level < _MOST_LEVELS:
            least = schema.get("minItems", 0)
            return st.lists(_values(schema.get("items", {}), name, known, below), min_size=least, max_size=least + 2)
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 1000))
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 1000))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return _texts(name, known)
    return st.one_of(_texts(name, known), st.sampled_from([None, 1, [], {}, {"a": ["b"]}]))


@st.composite
def _bodies(draw: st.DrawFn, good: st.SearchStrategy[Any]) -> bytes:
    """Good bodies with something odd in place of a part of them, or cut off, or followed by more."""
    value = draw(good)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2]))):
        value = _spoilt(value, draw(st.sampled_from(list(_places(value)))), draw(st.sampled_from([*_ODD, None])))
    raw = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else orjson.dumps(value)
    return draw(
        st.sampled_from([*[raw] * 12, raw[: len(raw) // 2], raw * 2, b"\xef\xbb\xbf" + raw, b"\x1f\x8b\x08" + raw, b""])
    )


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*at, key))


def _spoilt(value: Any, at: tuple[Any, ...], odd: bytes | None) -> Any:
    """Put something else at a place, or nothing at all."""
    if not at:
        return orjson.Fragment(odd or b"")
    copy = dict(value) if isinstance(value, dict) else list(value)
    first, *rest = at
    if rest or odd is not None:
        copy[first] = _spoilt(copy[first], tuple(rest), odd)
    else:
        del copy[first]
    return copy
