"""For how many days tables, lake and queues keep things on their own account (infra/storage.py, infra/streaming.py)."""

# How far back a table can be restored.
RECOVERY_DAYS = 35
# What the lake keeps for a time.
LAKE_DAYS = 30
# How long a queue keeps a message, dead letter or not.
QUEUE_DAYS = 14
# A dead letter that is put back in line waits from the beginning.
MESSAGE_DAYS = 2 * QUEUE_DAYS
