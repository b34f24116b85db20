"""Streamed messages that say what they do to a fragment (contract: data-and-pql §4.6).

The header's ``operations`` name what is done: ``{"data": "merge", "identity": "create", "identityDatasetId": ...}``. In
the body of a merge every array says what it is for, ``{"$append": [...]}`` or ``{"$replace": [...]}``; no field of a
schema can begin with a dollar sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.rows import BAD_OPERATION, Row, RowError, RowSchema, accept
from tessera.domain.upsert.operation import Action, Path

_APPEND, _REPLACE = "$append", "$replace"
_INTENTS = frozenset({_APPEND, _REPLACE})
_IDENTITIES = "identityMap"


def accept_message(
    entity: object,
    operations: object,
    dataset: DatasetSettings,
    configuration: Configuration,
    size: int,
    schema: RowSchema | None = None,
) -> Row:
    """Judge the row of a message; ``operations`` is what its header has under that name, ``None`` without it.

    ``entity`` is the row as it was sent, ``size`` its length in bytes as uncompressed JSON; of a ``schema``, merges and
    deletes need not have what it requires. A message without operations is what a row of a batch is. Raises RowError.
    """
    if operations is None or not isinstance(entity, dict):
        return accept(entity, dataset.kind, size, dataset.action, schema)
    if not isinstance(operations, dict):
        raise RowError(BAD_OPERATION, "operations must be an object")
    action = _action(operations, dataset)
    appends: set[Path] = set()
    body = {
        name: value if name == _IDENTITIES else _plain(value, (name,), action, appends)
        for name, value in entity.items()
    }
    row = accept(body, dataset.kind, size, action, schema)
    if action is Action.DELETE:
        row = replace(row, body={_IDENTITIES: row.body[_IDENTITIES]})
    links_as = _identity_dataset(operations, dataset, configuration)
    return replace(row, appends=frozenset(appends), links_as=links_as, linked=row.linked if links_as else ())


def _action(operations: Mapping[str, Any], dataset: DatasetSettings) -> Action:
    asked = operations.get("data", Action.CREATE)
    if asked not in list(Action):
        raise RowError(BAD_OPERATION, "operations.data must be create, merge or delete")
    action = Action(asked)
    if dataset.kind is not DatasetKind.RECORD and action is not Action.CREATE:
        raise RowError(BAD_OPERATION, f"operations.data {action} is for records: events are never updated")
    return action


def _identity_dataset(operations: Mapping[str, Any], dataset: DatasetSettings, configuration: Configuration) -> str:
    """Return the dataset that the row's links are to be from; empty when the message asks for none."""
    asked = operations.get("identity")
    if asked is None:
        return ""
    if asked != "create":
        raise RowError(BAD_OPERATION, "operations.identity must be create")
    dataset_id = operations.get("identityDatasetId")
    if not isinstance(dataset_id, str) or not dataset_id:
        raise RowError(BAD_OPERATION, "operations.identity needs operations.identityDatasetId")
    if dataset_id == dataset.id:
        raise RowError(BAD_OPERATION, "operations.identityDatasetId is the profile dataset: its rows would be replaced")
    identities = configuration.datasets.get(dataset_id)
    if identities is None:
        raise RowError(BAD_OPERATION, f"operations.identityDatasetId: no dataset {dataset_id[:64]} in this sandbox")
    if (identities.kind, identities.schema) != (dataset.kind, dataset.schema):
        raise RowError(BAD_OPERATION, "operations.identityDatasetId must be a dataset of the same schema")
    if identities.profile_enabled or not identities.identity_enabled:
        raise RowError(
            BAD_OPERATION, "operations.identityDatasetId must be enabled for identities and disabled for profiles"
        )
    return dataset_id


def _plain(value: Any, path: Path, action: Action, appends: set[Path]) -> Any:
    """Return a value with arrays for what says what an array is for; note the paths of those that are appended.

    On an insert the array is simply the value.
    """
    if isinstance(value, list):
        if action is Action.MERGE:
            raise RowError(
                BAD_OPERATION, f"the array {_dotted(path)} must say what a merge does with it: {_APPEND} or {_REPLACE}"
            )
        return _items(value, path)
    if not isinstance(value, dict):
        return value
    if not _INTENTS & value.keys():
        return {name: _plain(inner, (*path, name), action, appends) for name, inner in value.items()}
    intent, *others = value
    if others or not isinstance(value[intent], list):
        raise RowError(BAD_OPERATION, f"{_dotted(path)}: {_APPEND} or {_REPLACE} stands alone, with an array")
    if intent == _APPEND and action is Action.MERGE:
        appends.add(path)
    return _items(value[intent], path)


def _items(items: list[Any], path: Path) -> list[Any]:
    if any(_INTENTS & inner.keys() for inner in _objects_in(items)):
        raise RowError(BAD_OPERATION, f"{_dotted(path)}: {_APPEND} and {_REPLACE} are not for what is within an array")
    return items


def _objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects_in(inner)


def _dotted(path: Path) -> str:
    return ".".join(path)[:200]
