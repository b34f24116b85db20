"""For how many days tables, lake and queues keep things on their own account (infra/storage.py, infra/streaming.py)."""

# How far back a table can be restored.
RECOVERY_DAYS = 35
# What the lake keeps for a time.
LAKE_DAYS = 30
# How long a message can wait: 14 days, dead letter or not, and as long again once it is put back in line.
QUEUE_DAYS = 28
