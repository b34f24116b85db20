"""Judged rows, which are compressed lines behind one with the format version, without some of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import orjson
import zstandard

from tessera.domain.place import Place, accepted_ms
from tessera.domain.schema.identity_field import IdentityField
from tessera.services.erasure.lake.wanted import Concerned, Wanted
from tessera.services.ingestion.sources import UnreadableFileError
from tessera.storage.codec import FORMAT_VERSION, pack, unpack

_COMPRESSION = 3

IsConcerned = Callable[[bytes], bool]
# The identity fields of a version of a schema.
FieldsOf = Callable[[str], Sequence[IdentityField]]


def staged_line(concerned: Concerned) -> IsConcerned:
    """Return what tells whether an accepted row of a batch goes; a line carries the identities of its row."""

    def is_concerned(line: bytes) -> bool:
        if line.isspace():
            return False
        identities = orjson.loads(line)[2]
        return any(concerned.wanted.has(code, value, concerned.at_ms) for code, value in identities)

    return is_concerned


def streamed_line(concerned: Concerned) -> IsConcerned:
    """Return what tells whether a streamed row goes, by the place that is with it."""

    def is_concerned(line: bytes) -> bool:
        place, _, row = orjson.loads(line)
        return Concerned(concerned.wanted, accepted_ms(Place(place)), concerned.fields).row(row)

    return is_concerned


def lines_without(body: bytes, is_concerned: IsConcerned, gap: bytes) -> tuple[bytes, int]:
    """Return packed lines with a ``gap`` instead of some, and how many these are.

    Raises UnreadableFileError, and ValueError for a format that this version cannot read.
    """
    try:
        with _lines(body) as lines:
            version = orjson.loads(lines.readline()).get("v")
            if version != FORMAT_VERSION:
                raise ValueError(f"rows of format {version!r}: written by a newer version?")
            going = {number for number, line in enumerate(lines, start=1) if is_concerned(line)}
    except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
        raise UnreadableFileError(str(error)) from None
    if not going:
        return body, 0
    packed = io.BytesIO()
    with _lines(body) as lines, zstandard.ZstdCompressor(_COMPRESSION).stream_writer(packed, closefd=False) as writer:
        for number, line in enumerate(lines):
            writer.write(gap if number in going else line)
    return packed.getvalue(), len(going)


def message_without(body: bytes, wanted: Wanted, fields_of: FieldsOf) -> tuple[bytes, int, str]:
    """Return a message without its row if that goes, how many rows that is, and the dataset that it is for.

    The message itself stays, for a queue may still name it; without a row it is rejected.
    """
    document = unpack(body)
    message = document["message"]
    row, dataset_id = message["body"].get("xdmEntity"), message["dataset"]
    concerned = Concerned(wanted, accepted_ms(Place(message["place"])), fields_of(message["judgedBy"][0]))
    if not isinstance(row, dict) or not concerned.row(row):
        return body, 0, dataset_id
    blank = {**message, "body": {"xdmEntity": {}}}
    return pack({**document, "message": blank}), 1, dataset_id


def _lines(body: bytes) -> io.BufferedReader:
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(body))
