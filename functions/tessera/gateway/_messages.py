"""Requests as handlers see them, and answers as handlers make them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel

from tessera.domain.errors import InvalidRequestError
from tessera.domain.inlet import Inlet
from tessera.domain.tenant import Tenant
from tessera.gateway._problems import MalformedJsonError, ResponseTooLargeError

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
OCTET_STREAM = "application/octet-stream"
PARQUET = "application/x-parquet"

# A function is called with at most 6 MB, of which base64 takes a quarter and the headers a little.
MAX_BODY_BYTES = 4_500_000
MAX_ANSWER_BYTES = 5_500_000
# The answer travels as a string within JSON: each quote and backslash takes two bytes of Lambda's 6,291,556.
_MAX_WIRE_BYTES = 6_200_000
# Levels of a body; what is made of one has as many, so that it can be written whatever is put around it.
MAX_NESTING = 100
_MOST_DIGITS = 18

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The sandbox a request is about, as the registry knows it."""

    id: str
    name: str
    type: str
    default: bool = False


class Query:
    """Query parameters: names in any case, repeated ones kept, blanks kept (contract: profile-api §1.5).

    Raises InvalidRequestError for what is no text: half of a character, which no answer could repeat.
    """

    __slots__ = ("_values",)

    def __init__(self, parameters: Mapping[str, Sequence[str]] | None) -> None:
        self._values: dict[str, list[str]] = {}
        for name, values in (parameters or {}).items():
            if not all(map(is_text, (name, *values))):
                raise InvalidRequestError("The query is not valid Unicode")
            self._values.setdefault(name.lower(), []).extend(values)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def get(self, name: str) -> str | None:
        """Return the first value given, however often the parameter is repeated; ``None`` if it is absent."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def every(self, name: str) -> list[str]:
        """Return all values given, in order."""
        return list(self._values.get(name.lower(), ()))

    def listed(self, name: str) -> list[str]:
        """Return the parts of a comma-separated value, blanks left out."""
        return [part for part in (piece.strip() for piece in (self.get(name) or "").split(",")) if part]

    def integer(
        self, name: str, default: int, *, minimum: int = 0, maximum: int | None = None, clamp: bool = False
    ) -> int:
        """Read a whole number; absent or blank is ``default``, and with ``clamp`` too much is ``maximum``.

        Raises InvalidRequestError.
        """
        text = (self.get(name) or "").strip()
        if not text:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
            raise InvalidRequestError(f"{name} is not a whole number")
        number = int(text)
        if clamp and maximum is not None:
            number = min(number, maximum)
        if number < minimum or (maximum is not None and number > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
            raise InvalidRequestError(f"{name} must be {bounds}")
        return number

    def flag(self, name: str, default: bool = False) -> bool:
        """Read ``true`` or ``false`` in any case; absent or blank is ``default``.

        Raises InvalidRequestError.
        """
        text = (self.get(name) or "").strip().lower()
        if text in {"true", "false"}:
            return text == "true"
        if text:
            raise InvalidRequestError(f"{name} must be true or false")
        return default


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What every request has that passed its checks. Header names are in lower case."""

    route: str
    query: Query
    headers: Mapping[str, str]
    raw_body: bytes
    request_id: str

    def json(self, *, max_nesting: int = MAX_NESTING) -> Any:
        """Parse the body; NaN, Infinity, broken text and nesting deeper than ``max_nesting`` are no JSON here.

        Raises MalformedJsonError.
        """
        try:
            value = orjson.loads(self.raw_body)
        except orjson.JSONDecodeError as error:
            raise MalformedJsonError(f"Line {error.lineno}, column {error.colno}: {error.msg}") from None
        # Only a body with that many opening brackets can nest that deep.
        brackets = self.raw_body.count(b"[") + self.raw_body.count(b"{")
        if brackets > max_nesting and nests_deeper(value, max_nesting):
            raise MalformedJsonError(f"The body is nested deeper than {max_nesting} levels.")
        return value

    def parse(self, model: type[Model]) -> Model:
        """Read the body as a model; what it does not fit becomes a 400 that says where.

        Raises MalformedJsonError and pydantic's ValidationError.
        """
        return model.model_validate(self.json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Received):
    """A request of a known client for a sandbox that it may act in. ``caller`` is the client id.

    ``path_parameters`` are decoded: a value may hold slashes or dots, whatever the caller encoded.
    """

    method: str
    tenant: Tenant
    sandbox: Sandbox
    caller: str
    path_parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InletRequest(Received):
    """What came in by an inlet. ``caller`` is the sender's client id if the inlet asks who it is, else ``None``."""

    inlet: Inlet
    caller: str | None


def nests_deeper(value: Any, limit: int) -> bool:
    """Tell whether a JSON value has objects and arrays within each other on more than ``limit`` levels."""
    level = [value]
    for _ in range(limit + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return True


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``body`` is a JSON value, or bytes that are sent as they are with ``content_type``.

    ``None`` sends nothing: for a DELETE or a HEAD only, a client that gets nothing for a GET asks for ever.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    def to_proxy(self, request_id: str) -> dict[str, Any]:
        """Write what API Gateway expects of a function.

        Raises ResponseTooLargeError.
        """
        raw = b"" if self.body is None else self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)
        if not fits(raw):
            raise ResponseTooLargeError
        encoded = False
        try:
            # Text goes as text: in base64 it would be a third larger.
            text = raw.decode()
        except UnicodeDecodeError:
            text, encoded = b64encode(raw).decode("ascii"), True
            if len(text) > MAX_ANSWER_BYTES:
                raise ResponseTooLargeError from None
        return {
            "statusCode": self.status,
            "headers": {"content-type": self.content_type, "x-request-id": request_id, **self.headers},
            "body": text,
            "isBase64Encoded": encoded,
        }


def is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8; JSON may escape halves of characters, which cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def fits(raw: bytes) -> bool:
    """Tell whether a JSON body is small enough for a function to return it."""
    return len(raw) * 2 <= _MAX_WIRE_BYTES or share_of_answer(raw) <= MAX_ANSWER_BYTES


def share_of_answer(raw: bytes) -> int:
    """Return how many of ``MAX_ANSWER_BYTES`` a piece of JSON takes up: more than it has if much of it is quotes."""
    on_the_wire = len(raw) + raw.count(b'"') + raw.count(b"\\")
    return max(len(raw), on_the_wire * MAX_ANSWER_BYTES // _MAX_WIRE_BYTES + 1)
