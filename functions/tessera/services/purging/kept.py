"""For how many days tables, lake and queues keep things on their own account (infra/storage.py, infra/streaming.py)."""

from __future__ import annotations

from tessera.domain.times import DAY_MS

# How far back a table can be restored.
RECOVERY_DAYS = 35
# What the lake keeps for a time.
LAKE_DAYS = 30
# How long a queue keeps a message, dead letter or not.
QUEUE_DAYS = 14
# A dead letter that is put back in line waits from the beginning.
MESSAGE_DAYS = 2 * QUEUE_DAYS
# Which rows a batch had, once that is let go: longer than a restore or a message may ask for it.
PLACES_DAYS = 40


def messages_until_s(accepted_ms: int) -> int:
    """Return until when messages that were accepted by an instant may be delivered, in seconds since 1970."""
    return (accepted_ms + MESSAGE_DAYS * DAY_MS) // 1000
