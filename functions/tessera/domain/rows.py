"""What a row must be to be accepted, and what it says (contract: profile-api §7, §8; data-and-pql §4.3, §4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tessera.domain.configuration import DatasetKind
from tessera.domain.identity import MAX_IDENTITIES_PER_ROW, Identity, is_namespace_code, unusable_because
from tessera.domain.place import Place
from tessera.domain.schema.identity_field import materialised
from tessera.domain.times import iso_ms, parse_ms
from tessera.domain.upsert import Action, Operation, Path

MAX_RECORD_BYTES = 100 * 1024
MAX_EVENT_BYTES = 10 * 1024
MAX_EVENT_ID_LENGTH = 1024

MISSING = "INGEST-1555-400"
UNREADABLE = "INGEST-1401-400"
WRONG_TYPE = "INGEST-1505-400"
BAD_VALUE = "INGEST-1510-400"
TOO_LARGE = "INGEST-1413-400"
BAD_IDENTITY = "INGEST-1520-400"
BAD_OPERATION = "INGEST-1530-400"
EXPIRED = "INGEST-1540-400"
# Ours: the contract knows no holds.
HELD = "TESSERA-INGEST-HELD"


class Violation(NamedTuple):
    """One rule of a schema that a row breaks, as validation reports name it (contract: data-and-pql §4.3, §4.5)."""

    keyword: str
    message: str
    pointer: str
    schema_location: str


class RowError(ValueError):
    """A row cannot be accepted; ``code`` names the reason, the message says it in words.

    ``violations`` are the rules of its schema that it breaks, the first few of them.
    """

    def __init__(self, code: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.violations = tuple(violations)


class RowSchema(Protocol):
    """What a schema says of rows: ``domain.schema.compiled.CompiledSchema``."""

    def conform(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row with its values converted; raises RowError."""

    def identities(self, row: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
        """Return the identities that its fields hold: code, value, and whether it is the primary one.

        Raises RowError when the primary one is missing.
        """


@dataclass(frozen=True, slots=True)
class Row:
    """An accepted row: its body without nulls, whose it is, whom it links, and when it happened.

    ``namespaces`` are the namespace codes as the row spells them. ``event_id`` and ``timestamp_ms`` are set for
    events, ``custom_date_ms`` for records that carry ``extSourceSystemAudit.lastUpdatedDate``. ``action`` is what a
    record does to its fragment, ``appends`` are the arrays that it adds to the stored ones. ``links_as`` is the dataset
    that asserts the row's links, where it is not the row's own.
    """

    body: dict[str, Any]
    primary: Identity
    linked: tuple[Identity, ...]
    namespaces: frozenset[str]
    event_id: str = ""
    timestamp_ms: int = 0
    custom_date_ms: int | None = None
    action: Action = Action.CREATE
    appends: frozenset[Path] = frozenset()
    links_as: str = ""

    def happened_by(self, time_ms: int) -> bool:
        """Tell whether it is an event of this time or before."""
        return bool(self.event_id) and self.timestamp_ms <= time_ms


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """An accepted row and its place in history."""

    place: Place
    row: Row

    @property
    def operation(self) -> Operation:
        """What a record does to its fragment."""
        return Operation(self.place, self.row.action, self.row.body, self.row.appends)


def accept(
    row: object, kind: DatasetKind, size: int, action: Action = Action.CREATE, schema: RowSchema | None = None
) -> Row:
    """Judge one row of a dataset of this kind; ``size`` is its length in bytes as uncompressed JSON.

    ``action`` is what a record is to do to its fragment: rows of upsert datasets are merged. With a ``schema``, values
    are converted to its types, and identities in fields become part of the identityMap.

    Raises RowError.
    """
    if not isinstance(row, dict):
        raise RowError(UNREADABLE, "a row must be a JSON object")
    limit = MAX_EVENT_BYTES if kind is DatasetKind.EVENT else MAX_RECORD_BYTES
    if size > limit:
        raise RowError(TOO_LARGE, f"the row has {size} bytes; a {kind} row may have {limit}")
    body = without_nulls(row)
    if schema is not None:
        body = schema.conform(body)
        if (identity_map := materialised(body.get("identityMap"), schema.identities(body))) is not None:
            body["identityMap"] = identity_map
    identities, namespaces, primary = _identities(body.get("identityMap"))
    linked = tuple(identity for identity in identities if identity != primary and unusable_because(identity) is None)
    if kind is DatasetKind.EVENT:
        event_id, timestamp_ms = _event_key(body)
        return Row(body, primary, linked, namespaces, event_id, timestamp_ms)
    return Row(body, primary, linked, namespaces, custom_date_ms=custom_date(body), action=action)


def expect_unexpired(row: Row, horizon_ms: int) -> None:
    """Refuse an event that had expired when it was accepted; ``horizon_ms`` is up to when events had.

    The one thing about a row that depends on when it comes (contract: profile-api §10). Raises RowError.
    """
    if row.happened_by(horizon_ms):
        raise RowError(EXPIRED, "the event had expired when it was received: the dataset keeps no events so old")


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Copy an object without nulls: XDM has none, a missing key is the only "no value" (profile-api §2.4)."""
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if item is None:
            continue
        if isinstance(item, dict):
            inner = without_nulls(item)
            if inner or not item:
                kept[key] = inner
        elif isinstance(item, list):
            kept[key] = _list_without_nulls(item)
        else:
            kept[key] = item
    return kept


def _list_without_nulls(value: list[Any]) -> list[Any]:
    return [
        without_nulls(item) if isinstance(item, dict) else _list_without_nulls(item) if isinstance(item, list) else item
        for item in value
        if item is not None
    ]


def _identities(identity_map: object) -> tuple[list[Identity], frozenset[str], Identity]:
    """Read an identityMap: its identities without repeats, the codes it spells, and the primary identity."""
    if identity_map is None:
        raise RowError(MISSING, "the row has no identity: identityMap is missing")
    if not isinstance(identity_map, dict):
        raise RowError(WRONG_TYPE, "identityMap must be an object of namespaces")
    found: dict[Identity, bool] = {}
    for code, items in identity_map.items():
        if not is_namespace_code(code):
            raise RowError(
                BAD_IDENTITY, "identityMap has a namespace code that is not 1 to 64 letters, digits, '.', '_' or '-'"
            )
        if not isinstance(items, list):
            raise RowError(WRONG_TYPE, f"identityMap.{code} must be an array of objects")
        for item in items:
            identity = Identity.of(code, _identity_value(code, item))
            found[identity] = found.get(identity, False) or item.get("primary") in (True, "true")
    if not found:
        raise RowError(MISSING, "the row has no identity: identityMap is empty")
    if len(found) > MAX_IDENTITIES_PER_ROW:
        raise RowError(BAD_IDENTITY, f"the row has {len(found)} identities; a row may have {MAX_IDENTITIES_PER_ROW}")
    primary = _primary(found)
    if reason := unusable_because(primary):
        raise RowError(BAD_IDENTITY, f"the primary identity cannot be used: {reason}")
    return list(found), frozenset(identity_map), primary


def _identity_value(code: str, item: object) -> str:
    if not isinstance(item, dict) or "id" not in item:
        raise RowError(MISSING, f"an item of identityMap.{code} has no id")
    value = item["id"]
    if isinstance(value, int) and not isinstance(value, bool):
        value = item["id"] = str(value)
    if not isinstance(value, str):
        raise RowError(WRONG_TYPE, f"an id in identityMap.{code} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(WRONG_TYPE, f"an id in identityMap.{code} is not valid Unicode") from None
    return value


def _primary(found: dict[Identity, bool]) -> Identity:
    if len(found) == 1:
        return next(iter(found))
    marked = [identity for identity, primary in found.items() if primary]
    if len(marked) == 1:
        return marked[0]
    if marked:
        raise RowError(BAD_IDENTITY, f"the row marks {len(marked)} identities as primary; mark one")
    raise RowError(BAD_IDENTITY, "the row has several identities and marks none as primary")


def _event_key(body: dict[str, Any]) -> tuple[str, int]:
    event_id = body.get("_id")
    if event_id is None or event_id == "":
        raise RowError(MISSING, "an event needs an _id")
    if not isinstance(event_id, str) or len(event_id) > MAX_EVENT_ID_LENGTH:
        raise RowError(WRONG_TYPE, f"an event's _id must be a string of at most {MAX_EVENT_ID_LENGTH} characters")
    timestamp = body.get("timestamp")
    if timestamp is None:
        raise RowError(MISSING, "an event needs a timestamp")
    try:
        timestamp_ms = parse_ms(timestamp)
    except (ValueError, OverflowError):
        raise RowError(WRONG_TYPE, "the event's timestamp is not an ISO-8601 date-time") from None
    if not isinstance(timestamp, str):
        body["timestamp"] = iso_ms(timestamp_ms)
    return event_id, timestamp_ms


def custom_date(body: dict[str, Any]) -> int | None:
    """Read when a record says that it was last updated, in milliseconds since 1970, if it says so.

    Raises RowError.
    """
    audit = body.get("extSourceSystemAudit")
    date = audit.get("lastUpdatedDate") if isinstance(audit, dict) else None
    if date is None:
        return None
    try:
        return parse_ms(date)
    except (ValueError, OverflowError):
        raise RowError(WRONG_TYPE, "extSourceSystemAudit.lastUpdatedDate is not an ISO-8601 date-time") from None
