"""What becomes of a batch once all its rows are judged (contract: data-and-pql §4.3, partial ingestion)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tessera.domain.rows import EXPIRED

EMPTY = "106"
EMPTY_HEADER = "118"
UNREADABLE = "INGEST-1401-400"
ERRORS_UNDIAGNOSED = "INGEST-1211-400"
ERRORS_SUMMARY = "INGEST-1212-400"
# Ours: limits of §5 and files that changed under us have no published code.
LIMIT_EXCEEDED = "TESSERA-INGEST-413"
FILE_CHANGED = "TESSERA-INGEST-409"
DATASET_GONE = "TESSERA-INGEST-404"
TOO_MANY_NAMESPACES = "TESSERA-INGEST-422"
UNFINISHED = "TESSERA-INGEST-412"

MAX_FILE_ERRORS_LISTED = 20

# Beside ``_errors`` of a rejected row: which rules of its schema it breaks.
VIOLATIONS = "_violations"


@dataclass(frozen=True, slots=True)
class FileError:
    """A file that cannot be read as a whole; it fails the batch whatever the threshold."""

    path: str
    code: str
    message: str


@dataclass(slots=True)
class Tally:
    """What became of the rows of a chunk, or of all chunks; ``size`` is bytes of accepted rows as JSON."""

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    size: int = 0
    outputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    namespaces: set[str] = field(default_factory=set)
    file_errors: list[FileError] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.rows += other.rows
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.size += other.size
        self.outputs += other.outputs
        self.codes.update(other.codes)
        self.namespaces |= other.namespaces
        self.file_errors += other.file_errors

    def to_document(self) -> dict[str, Any]:
        """Write the tally as the JSON document that is stored; equal tallies are equal documents."""
        return {
            "rows": self.rows,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "bytes": self.size,
            "outputs": self.outputs,
            "codes": dict(sorted(self.codes.items())),
            "namespaces": sorted(self.namespaces),
            "file_errors": [[error.path, error.code, error.message] for error in self.file_errors],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Tally:
        """Read a tally from its stored document."""
        return cls(
            rows=document["rows"],
            accepted=document["accepted"],
            rejected=document["rejected"],
            size=document["bytes"],
            outputs=document["outputs"],
            codes=Counter(document["codes"]),
            namespaces=set(document["namespaces"]),
            file_errors=[FileError(*error) for error in document["file_errors"]],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the good rows of a batch are applied, and the batch's ``errors``."""

    accepted: bool
    errors: tuple[dict[str, Any], ...]


def judge(tally: Tally, *, partial_percent: float | None, diagnostics: bool) -> Verdict:
    """Decide about a batch.

    A file that cannot be read, no row at all, no good row, a bad row without partial ingestion, or more bad rows
    than the threshold allows: the whole batch fails and nothing lands. Events that have expired are told as rejected,
    but there is nothing wrong with them (contract: profile-api §10).
    """
    if tally.file_errors:
        return Verdict(False, _file_errors(tally.file_errors))
    if not tally.rows:
        return Verdict(False, ({"code": EMPTY, "description": "The batch has no rows: its files are empty."},))
    if not tally.rejected:
        return Verdict(True, ())
    # Percent of rows, compared without dividing: 5 of 100 is not above 5 %.
    wrong = tally.rejected - tally.codes[EXPIRED]
    tolerated = partial_percent is not None and wrong * 100 <= partial_percent * tally.rows and tally.accepted > 0
    accepted = tolerated or not wrong
    return Verdict(accepted, _row_errors(tally, landed=tally.accepted if accepted else 0, diagnostics=diagnostics))


def _file_errors(errors: Iterable[FileError]) -> tuple[dict[str, Any], ...]:
    unique = sorted({(error.path, error.code, error.message) for error in errors})
    listed = tuple(
        {"code": code, "description": f"{path}: {message}" if path else message}
        for path, code, message in unique[:MAX_FILE_ERRORS_LISTED]
    )
    more = len(unique) - len(listed)
    return (*listed, {"code": UNREADABLE, "description": f"and {more} more files"}) if more else listed


def _row_errors(tally: Tally, *, landed: int, diagnostics: bool) -> tuple[dict[str, Any], ...]:
    if not diagnostics:
        return (
            {
                "code": ERRORS_UNDIAGNOSED,
                "description": "Encountered errors while parsing, converting or otherwise validating the data. "
                "Create the batch with enableErrorDiagnostics to have them counted here by reason.",
            },
        )
    summary = {
        "code": ERRORS_SUMMARY,
        "description": f"Encountered {tally.rejected} errors in the data. {landed} rows ingested. "
        "The rejected rows are at meta?path=row_errors of the batch.",
        "recordCount": tally.rejected,
    }
    by_code = (
        {
            "code": code,
            "description": _DESCRIPTIONS.get(code, "Rows were rejected; each tells its reason."),
            "recordCount": count,
        }
        for code, count in sorted(tally.codes.items())
    )
    return (*by_code, summary)


_DESCRIPTIONS = {UNREADABLE: "Rows are corrupted and cannot be read, please fix and resend."}


def metrics(tally: Tally, *, input_files: int, input_bytes: int, partitions: int, accepted: bool) -> dict[str, int]:
    """Return the figures of a batch by their published names; ``failedRecordCount`` is input minus output."""
    records = tally.accepted if accepted else 0
    return {
        "inputByteSize": input_bytes,
        "inputFileCount": input_files,
        "inputRecordCount": tally.rows,
        "outputByteSize": tally.size if accepted else 0,
        "outputFileCount": tally.outputs if accepted else 0,
        "outputRecordCount": records,
        "failedRecordCount": tally.rows - records,
        "partitionCount": partitions,
    }
