"""Places: where a row stands in history, given when it is accepted (law 2).

A place is a string that sorts by acceptance: the time of acceptance in milliseconds, the batch, the file within
the batch and the position within the file. It is all that ever decides between two rows, so the order in which
rows are processed cannot matter. The ingestion time and the batch of a row are read off its place.

The batch of a streamed message is the request that brought it, with an id like a batch's; where the number of the
file would be, it says so, and the position is that of the message within the request.
"""

from __future__ import annotations

import re
from typing import NewType

from tessera.domain.ulid import ALPHABET, RANDOM_BITS, parts_of
from tessera.domain.ulid import LENGTH as ID_LENGTH

Place = NewType("Place", str)

# Longer than a transaction takes, and than the clocks of two functions are apart: so far ahead lies the place of what
# the writer of every row must know that is accepted after it.
GRACE_MS = 250

_HALF = RANDOM_BITS // 2
_TIME_DIGITS = 11
_BATCH = slice(_TIME_DIGITS + 1, _TIME_DIGITS + 1 + ID_LENGTH)
_FILE = slice(_BATCH.stop + 1, _BATCH.stop + 5)
# No batch has so many files.
_STREAMED_ALONE, _STREAMED_WITH_OTHERS = "ffff", "fffe"
_STREAMED = re.compile(
    rf"[0-9a-f]{{{_TIME_DIGITS}}}\.[{ALPHABET}]{{{ID_LENGTH}}}\.({_STREAMED_ALONE}|{_STREAMED_WITH_OTHERS})\.[0-9a-f]{{10}}"
)
# After every row there can be.
END_OF_TIME = Place("f" * _TIME_DIGITS + ".~")


def batch_place(completed_ms: int, batch_id: str, file_index: int, position: int) -> Place:
    """Place of a row of a batch: ``position`` is its byte offset or row number within file ``file_index``."""
    return Place(f"{completed_ms:0{_TIME_DIGITS}x}.{batch_id}.{file_index:04x}.{position:010x}")


def stream_place(received_ms: int, request_id: str, position: int | None) -> Place:
    """Place of a streamed message: ``position`` is its number within the request, ``None`` if that is for one only."""
    kind = _STREAMED_ALONE if position is None else _STREAMED_WITH_OTHERS
    return Place(f"{received_ms:0{_TIME_DIGITS}x}.{request_id}.{kind}.{position or 0:010x}")


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
    """Return the batch that brought the row; the transaction id for a streamed one (contract: data-and-pql §4.5)."""
    batch_id, kind = place[_BATCH], place[_FILE]
    if kind == _STREAMED_ALONE:
        return transaction_id(batch_id)
    if kind == _STREAMED_WITH_OTHERS:
        return f"{transaction_id(batch_id)}:{int(place[_FILE.stop + 1 :], 16)}"
    return batch_id


def is_streamed(place: Place) -> bool:
    """Tell whether a row came as a message, and not in a batch."""
    return place[_FILE] in {_STREAMED_ALONE, _STREAMED_WITH_OTHERS}


def is_of_message(text: str) -> bool:
    """Tell whether a text is the place of a streamed message."""
    return _STREAMED.fullmatch(text) is not None


def transaction_id(request_id: str) -> str:
    """Write the id of a streaming request the way its answers do: a time and two numbers."""
    made_ms, randomness = parts_of(request_id)
    return f"{made_ms}:{randomness >> _HALF}:{randomness & (1 << _HALF) - 1}"


def survives(place: Place, *cutoffs: Place | None) -> bool:
    """Tell whether a row at ``place`` is after every cutoff; a row at or below one is deleted (law 7)."""
    return all(cutoff is None or place > cutoff for cutoff in cutoffs)


def later(*cutoffs: Place | None) -> Place | None:
    """Return the last of some cutoffs, ``None`` when there is none."""
    return max((cutoff for cutoff in cutoffs if cutoff is not None), default=None)


def hand_place(now_ms: int) -> Place:
    """Place of what somebody does by hand at ``now_ms``: after every row accepted until that millisecond."""
    return cutoff_place(now_ms)
