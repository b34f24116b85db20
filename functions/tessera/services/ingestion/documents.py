"""Multi-line JSON: one array of rows, or rows one after another, over any number of lines (data-and-pql §4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder

from tessera.services.ingestion.sources import UnreadableFileError

_SPACE = re.compile(r"[ \t\r\n]*")
# Finds where a row ends, and nothing more: numbers stay text here, and NaN is the row's fault, not the file's.
_decode = JSONDecoder(parse_int=str, parse_float=str).raw_decode


def documents(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk the rows of a document, each with its number from 0.

    Raises UnreadableFileError where the text stops being JSON: what follows could be anything.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"byte {error.start} is not UTF-8") from None
    for number, (start, end) in enumerate(_values(text)):
        yield number, text[start:end].encode()


def _values(text: str) -> Iterator[tuple[int, int]]:
    at = _skip(text, 0)
    while at < len(text):
        if text[at] == "[":
            at = _skip(text, at + 1)
            if text[at : at + 1] == "]":
                at = _skip(text, at + 1)
                continue
            while True:
                end = _end(text, at)
                yield at, end
                at = _skip(text, end)
                mark = text[at : at + 1]
                at = _skip(text, at + 1)
                if mark == "]":
                    break
                if mark != ",":
                    raise UnreadableFileError(f"expected ',' or ']' at character {end}")
        else:
            end = _end(text, at)
            yield at, end
            at = _skip(text, end)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _end(text: str, at: int) -> int:
    try:
        return _decode(text, at)[1]
    except JSONDecodeError as error:
        raise UnreadableFileError(f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise UnreadableFileError("nested too deeply to be read") from None
