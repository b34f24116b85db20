"""Where the state of windows is kept: one small item of the registry each, gone when what it was for is long over.

| partition | sort | holds |
|---|---|---|
| ``<tenant>#window`` | dataset id ``#`` start, fifteen digits | round, whether it is open, when it closes |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tessera.domain.window import Window, WindowState
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.registry import LostRaceError, lost_race

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# Longer than any message stays in a queue and the staged rows in the lake.
_KEPT_S = 60 * 24 * 3600


class WindowStore:
    """Reads and changes the state of windows."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, window: Window) -> WindowState | None:
        """Read the state of a window, strongly consistent; ``None`` if it never was opened."""
        answer = self._client.get_item(TableName=self._table, Key=_key(window), ConsistentRead=True)
        item = answer.get("Item")
        if item is None:
            return None
        return WindowState(int(item["round"]["N"]), item["open"]["BOOL"], int(item["closes"]["N"]))

    def put(self, window: Window, state: WindowState, before: WindowState | None) -> None:
        """Write the state of a window if it is as it was. Raises LostRaceError."""
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if before is not None:
            condition = {
                "ConditionExpression": "#round = :round AND #open = :open",
                "ExpressionAttributeNames": {"#round": "round", "#open": "open"},
                "ExpressionAttributeValues": {":round": {"N": str(before.round)}, ":open": {"BOOL": before.open}},
            }
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    **_key(window),
                    "v": {"N": str(FORMAT_VERSION)},
                    "round": {"N": str(state.round)},
                    "open": {"BOOL": state.open},
                    "closes": {"N": str(state.closes_ms)},
                    "ttl": {"N": str(state.closes_ms // 1000 + _KEPT_S)},
                },
                **condition,
            )
        except ClientError as error:
            if lost_race(error):
                raise LostRaceError from error
            raise


def _key(window: Window) -> Any:
    return {
        "pk": {"S": f"{window.tenant.key}#window"},
        "sk": {"S": f"{window.dataset_id}#{window.start_ms:015d}"},
    }
