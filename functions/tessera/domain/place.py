"""Places: where a row stands in history, given when it is accepted (law 2).

A place is a string that sorts by acceptance: the time of acceptance in milliseconds, the batch, the file within
the batch and the position within the file. It is all that ever decides between two rows, so the order in which
rows are processed cannot matter. The ingestion time and the batch of a row are read off its place.
"""

from __future__ import annotations

from typing import NewType

Place = NewType("Place", str)

_TIME_DIGITS = 11
_BATCH_ID_LENGTH = 26


def batch_place(completed_ms: int, batch_id: str, file_index: int, position: int) -> Place:
    """Place of a row of a batch: ``position`` is its byte offset or row number within file ``file_index``."""
    return Place(f"{completed_ms:0{_TIME_DIGITS}x}.{batch_id}.{file_index:04x}.{position:010x}")


def batch_prefix(completed_ms: int, batch_id: str) -> str:
    """Beginning of the places of all rows of a batch."""
    return f"{completed_ms:0{_TIME_DIGITS}x}.{batch_id}."


def cutoff_place(accepted_ms: int) -> Place:
    """Place of a delete accepted at ``accepted_ms``: after every row accepted until that millisecond."""
    return Place(f"{accepted_ms:0{_TIME_DIGITS}x}.~")


def accepted_ms(place: Place) -> int:
    """When the row was accepted, in milliseconds since 1970; this is its ingestion time."""
    return int(place[:_TIME_DIGITS], 16)


def batch_id_of(place: Place) -> str:
    """Return the batch that brought the row."""
    return place[_TIME_DIGITS + 1 : _TIME_DIGITS + 1 + _BATCH_ID_LENGTH]


def survives(place: Place, *cutoffs: Place | None) -> bool:
    """Tell whether a row at ``place`` is after every cutoff; a row at or below one is deleted (law 7)."""
    return all(cutoff is None or place > cutoff for cutoff in cutoffs)


def later(*cutoffs: Place | None) -> Place | None:
    """Return the last of some cutoffs, ``None`` when there is none."""
    return max((cutoff for cutoff in cutoffs if cutoff is not None), default=None)


def hand_place(now_ms: int) -> Place:
    """Place of what somebody does by hand at ``now_ms``: after every row accepted until that millisecond."""
    return cutoff_place(now_ms)
