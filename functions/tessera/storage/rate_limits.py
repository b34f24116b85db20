"""How often something was done, counted in the registry table; counters expire by themselves.

| partition | sort | holds |
|---|---|---|
| ``<tenant>#rate#<what>`` | start of the window, seconds since 1970, ten digits | ``n``, how often; ``ttl`` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from tessera.domain.tenant import Tenant
from tessera.storage.codec import FORMAT_VERSION
from tessera.storage.registry import lost_race

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# A window that is over is of no use to anybody.
_KEPT_S = 60


class RateLimiter:
    """Counts by window, exactly, whatever the number of callers: each count is one conditional update."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def take(self, tenant: Tenant, what: str, window_s: int, length_s: int, most: int) -> bool:
        """Count one more in the window that starts at ``window_s``; ``False`` if it has had ``most`` already."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"{tenant.key}#rate#{what}"}, "sk": {"S": f"{window_s:010d}"}},
                UpdateExpression="SET v = :v, #ttl = :ttl ADD n :one",
                ConditionExpression="attribute_not_exists(n) OR n < :most",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues={
                    ":v": {"N": str(FORMAT_VERSION)},
                    ":ttl": {"N": str(window_s + length_s + _KEPT_S)},
                    ":one": {"N": "1"},
                    ":most": {"N": str(most)},
                },
            )
        except ClientError as error:
            if lost_race(error):
                return False
            raise
        return True
