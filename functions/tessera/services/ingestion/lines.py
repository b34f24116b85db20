"""JSON lines by byte ranges: a chunk owns the lines that start in it, wherever they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

MAX_LINE_BYTES = 1_000_000

_LOOK_AHEAD = 256 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Read = Callable[[int, int], bytes]


def lines_in(read: Read, size: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Walk the lines that start in bytes ``start`` to ``end`` (exclusive) of a file of ``size`` bytes.

    Each comes with its byte offset, without its line feed; blank lines are passed over. A line over
    ``MAX_LINE_BYTES`` comes cut to one byte more than that, however the file is split.
    """
    # One byte more to the left shows whether a line starts at the first byte.
    offset = start - 1 if start else 0
    data = read(offset, min(end, size))
    first = 0
    if start:
        first = data.find(b"\n") + 1
        if not first:
            return
    while first < len(data):
        feed = data.find(b"\n", first)
        raw = data[first:feed] if feed >= 0 else _finish(read, size, offset + len(data), data[first:])
        position = offset + first
        if position == 0:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if raw and not raw.isspace():
            yield position, raw[: MAX_LINE_BYTES + 1]
        if feed < 0:
            return
        first = feed + 1


def _finish(read: Read, size: int, offset: int, begun: bytes) -> bytes:
    """Read on until the line ends, or is too long anyway."""
    pieces = [begun]
    length = len(begun)
    while offset < size and length <= MAX_LINE_BYTES:
        piece = read(offset, min(offset + _LOOK_AHEAD, size))
        feed = piece.find(b"\n")
        pieces.append(piece if feed < 0 else piece[:feed])
        if feed >= 0:
            break
        offset += len(piece)
        length += len(piece)
    return b"".join(pieces)
