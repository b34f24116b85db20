"""Reading a share of the lake, and writing objects anew without the rows of the persons.

A worker can be called again at any point, be it that time is over or that it died. What is to be taken out of an object
is noted before it is: whoever finds it done counts what was noted. A version that had such rows is deleted as soon as
nobody names it any more, so that the lake does not keep it as a former one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tessera.domain.batch import Batch, FileFormat
from tessera.domain.erasure import Unread
from tessera.domain.schema.identity_field import IdentityField
from tessera.domain.tenant import Tenant
from tessera.services.erasure.lake import packed, texts, writing
from tessera.services.erasure.lake.checkpoint import Checkpoint, Inside
from tessera.services.erasure.lake.course import accepted_at
from tessera.services.erasure.lake.ports import Batches, Configurations, Notes, Objects, Plans, Schemas
from tessera.services.erasure.lake.texts import Cuts
from tessera.services.erasure.lake.wanted import Concerned, Wanted
from tessera.services.erasure.lake.writing import Found, Rewriter, TimeIsOverError
from tessera.services.ingestion.chunks import MAX_DOCUMENT_BYTES
from tessera.services.ingestion.sources import UnreadableFileError, check_text
from tessera.services.schema_versions import version_partition
from tessera.storage.received import FileChangedError, StoredFile
from tessera.storage.row_objects import Address, Content, LostUploadError, ObjectVersion, RowKind, RowObject, address

_CHECKPOINT_S = 30

DAMAGED = "it cannot be read as what its batch says it is"
SOME_ROWS = "some of its rows cannot be read"
TOO_LARGE = "it is larger than a document may be"
LEFT_PART = "a part of a file that was never completed, or was sent again"


_TRIES = 3
_DIRECTORIES = {
    RowKind.FILE: "input_files/",
    RowKind.PART: "parts/",
    RowKind.STAGED: "staged/",
    RowKind.STREAMED: "stream/",
    RowKind.MESSAGE: "messages/",
}


class _LostRaceError(Exception):
    """Somebody else has written or deleted the object."""


@dataclass(frozen=True, slots=True)
class ReadLake:
    """Everything that a worker reads and writes."""

    batches: Batches
    configurations: Configurations
    schemas: Schemas
    plans: Plans
    objects: Objects
    notes: Notes


class Looker:
    """Reads shares; ``clock`` gives seconds."""

    def __init__(self, lake: ReadLake, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake = lake
        self._clock = clock

    def look(self, tenant: Tenant, job_id: str, number: int, share: str) -> bool:
        """Read a share of a reading for some minutes; tell whether that was all. Safe to repeat.

        Raises RuntimeError when the share was not planned.
        """
        (document,) = self._lake.notes.checkpoints(tenant, job_id, number, [share])
        at = Checkpoint.from_document(document)
        if at.done:
            return True
        wanted = Wanted(tenant, self._lake.notes.wanted(tenant, job_id, number))

        def save() -> None:
            self._lake.notes.write_checkpoint(tenant, job_id, number, share, at.to_document())

        objects = self._lake.notes.objects(tenant, job_id, number, share)
        return _Share(self._lake, tenant, wanted, at, save, self._clock).run(objects)


class _Share:
    """The work of one invocation on a share."""

    def __init__(
        self,
        lake: ReadLake,
        tenant: Tenant,
        wanted: Wanted,
        at: Checkpoint,
        save: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._lake = lake
        self._tenant = tenant
        self._wanted = wanted
        self._at = at
        self._save = save
        self._clock = clock
        self._started = clock()
        self._rewriter = Rewriter(lake.objects, self._over)
        self._batches: dict[str, Batch] = {}
        self._planned: dict[str, dict[str, str]] = {}
        self._fields: dict[str, list[IdentityField]] = {}

    def run(self, objects: list[RowObject]) -> bool:
        """Go through the objects that are left, until time is over; tell whether that was all."""
        at, noted, tries = self._at, self._clock(), 0
        while at.item < len(objects):
            one = objects[at.item]
            if at.pending or tries:
                # It may be written already, by this worker or by somebody else.
                one = self._lake.objects.versions(one.key)
                self._planned.clear()
            try:
                if self._over(writing.WORKING_S):
                    raise TimeIsOverError
                taken = self._object(one)
            except TimeIsOverError:
                self._save()
                return False
            except (_LostRaceError, FileChangedError, LostUploadError):
                at.inside = None
                tries += 1
                if tries < _TRIES:
                    continue
                at.again += 1
                taken = False
            at.item, at.pending, at.inside, tries = at.item + 1, 0, None, 0
            if taken or self._clock() - noted > _CHECKPOINT_S:
                self._save()
                noted = self._clock()
        at.done = True
        self._save()
        return True

    def _over(self, seconds: float) -> bool:
        return self._clock() - self._started > seconds

    def _object(self, one: RowObject) -> bool:
        """Deal with all versions of an object; tell whether it is written anew now."""
        where = address(self._tenant, one.key)
        if where is None:
            return False
        if where.kind is RowKind.PART:
            self._part(where, one)
            return False
        named, resumed = self._named(where, one), bool(self._at.pending)
        versions = list(one.versions)
        if resumed and self._at.inside is not None and self._at.inside.version != named:
            # It was written, and only what comes after that is left to be done.
            self._at.inside = None
        if self._at.inside is not None:
            # Those before are dealt with.
            ids = [version.id for version in versions]
            versions = versions[ids.index(self._at.inside.version) :] if self._at.inside.version in ids else versions
        rows, dataset_id = 0, where.dataset_id
        for version in versions:
            content = self._lake.objects.content(self._tenant, one.key, version.id)
            if content is None or (content.in_parts and version.id != named):
                # It is gone, or a list of parts, which has no rows itself.
                continue
            found = self._read(where, version, content)
            dataset_id = found.dataset_id
            if version.id == named:
                if found.unread is not None:
                    self._note(found.unread)
                if resumed and where.kind is RowKind.FILE and not content.in_parts:
                    # Who died after it was noted that the file is whole now has left its parts.
                    self._lake.objects.delete_parts(self._tenant, where.batch_id, where.name)
                rows = self._taken_out(where, version, content, found)
            elif found.rows:
                self._lake.objects.delete(one.key, content.version)
                # Else it is the one that was written anew.
                self._at.former += not resumed
            self._at.inside = None
            self._at.objects += 1
            self._at.bytes += content.whole
        rows = rows or self._at.pending
        if rows:
            self._at.take(dataset_id, rows)
        return bool(rows)

    def _named(self, where: Address, one: RowObject) -> str | None:
        """Tell which version of an object counts: the one that the batch was made of, or the latest."""
        latest = next((version.id for version in one.versions if version.latest), None)
        if where.kind is not RowKind.FILE:
            return latest
        planned = self._versions_in_plan(where.batch_id).get(where.name)
        return planned if any(version.id == planned for version in one.versions) else latest

    def _versions_in_plan(self, batch_id: str) -> dict[str, str]:
        if batch_id not in self._planned:
            plan = self._lake.plans.plan(self._tenant, batch_id)
            files = [StoredFile(*file) for file in plan["files"]] if plan is not None else []
            self._planned[batch_id] = {file.name: file.version for file in files}
        return self._planned[batch_id]

    # What is in a version

    def _read(self, where: Address, version: ObjectVersion, content: Content) -> Found:
        match where.kind:
            case RowKind.MESSAGE:
                body = content.read(0, content.size)
                after, rows, dataset_id = packed.message_without(body, self._wanted, self._fields_of_version)
                return Found(dataset_id, rows, body=after)
            case RowKind.STREAMED:
                fields = self._fields_of(where.dataset_id)
                is_concerned = packed.streamed_line(Concerned(self._wanted, 0, fields))
                return self._packed(where, content, where.dataset_id, is_concerned, b"")
        batch = self._batch(where.batch_id)
        fields = self._fields_of_version(batch.schema) if batch.schema else self._fields_of(batch.dataset_id)
        concerned = Concerned(self._wanted, accepted_at(batch), fields)
        if where.kind is RowKind.STAGED:
            # An empty line in its place: who applies rows counts lines.
            return self._packed(where, content, batch.dataset_id, packed.staged_line(concerned), b"\n")
        try:
            return self._file(where, version, content, batch, concerned)
        except UnreadableFileError:
            return Found(batch.dataset_id, unread=self._unread(DAMAGED, where, batch.dataset_id))

    def _packed(
        self, where: Address, content: Content, dataset_id: str, is_concerned: packed.IsConcerned, gap: bytes
    ) -> Found:
        try:
            after, rows = packed.lines_without(content.read(0, content.size), is_concerned, gap)
        except UnreadableFileError:
            return Found(dataset_id, unread=self._unread(DAMAGED, where, dataset_id))
        return Found(dataset_id, rows, body=after)

    def _file(
        self, where: Address, version: ObjectVersion, content: Content, batch: Batch, concerned: Concerned
    ) -> Found:
        if where.kind is RowKind.FILE and batch.multi_line:
            if content.whole > MAX_DOCUMENT_BYTES:
                return Found(batch.dataset_id, unread=self._unread(TOO_LARGE, where, batch.dataset_id))
            body = content.read(0, content.whole)
            check_text(body[:4])
            after, rows, not_read = texts.document_without(body, concerned.row)
            return Found(batch.dataset_id, rows, self._unread_rows(where, batch.dataset_id, not_read), after)
        if self._at.inside is None or self._at.inside.version != version.id:
            self._at.inside = Inside(version.id)
        inside = self._at.inside
        in_columns = where.kind is RowKind.FILE and batch.format is FileFormat.PARQUET
        if not inside.scanned:
            look = self._scanned_columns if in_columns else self._scanned_text
            if not look(where, content, batch, concerned, inside.cuts):
                raise TimeIsOverError
            inside.scanned = True
        unread = self._unread_rows(where, batch.dataset_id, inside.cuts.unread)
        return Found(batch.dataset_id, inside.cuts.rows, unread, inside=inside, in_columns=in_columns)

    def _scanned_text(self, where: Address, content: Content, batch: Batch, concerned: Concerned, cuts: Cuts) -> bool:
        size = content.whole
        if where.kind is RowKind.REJECTED:
            walk = texts.rejected_rows
        else:
            walk = texts.csv_rows if batch.format is FileFormat.CSV else texts.json_rows
            check_text(content.read(0, min(4, size)))
        rows = walk(content.read, size, cuts.at)
        return texts.find(rows, size, cuts, concerned.row, lambda: self._over(writing.WORKING_S))

    def _scanned_columns(
        self, where: Address, content: Content, batch: Batch, concerned: Concerned, cuts: Cuts
    ) -> bool:
        # Here, because only files of Parquet need pyarrow, which takes long to load.
        from tessera.services.erasure.lake import parquet  # noqa: PLC0415

        return parquet.find(
            content.read, content.whole, concerned.columns, cuts, concerned.row, lambda: self._over(writing.WORKING_S)
        )

    def _part(self, where: Address, one: RowObject) -> None:
        """Look whether a part is in a file, which is read as a whole; else it is not known what is in it."""
        file, upload, name = where.name.split("/")
        if name.startswith("total-"):
            return
        batch = self._batch(where.batch_id)
        noted = self._lake.objects.upload_of_part(self._tenant, batch.id, file)
        content = None
        if noted is not None and not noted.open:
            key = self._lake.objects.key_of(self._tenant, batch.id, batch.dataset_id, noted.path)
            planned = self._versions_in_plan(batch.id).get(noted.path, "")
            content = self._lake.objects.content(self._tenant, key, planned)
        if content is None or content.upload != upload or len(one.versions) > 1:
            self._note(self._unread(LEFT_PART, where, batch.dataset_id))

    # Writing it anew

    def _taken_out(self, where: Address, version: ObjectVersion, content: Content, found: Found) -> int:
        if not found.rows:
            return 0
        self._at.pending = found.rows
        self._save()
        objects = self._lake.objects
        current = content if version.latest else objects.content(self._tenant, content.key)
        after = self._rewriter.write(content, current, found) if current is not None else None
        if after is None:
            raise _LostRaceError
        if where.kind is RowKind.FILE:
            batch_id, name = where.batch_id, where.name
            self._lake.plans.note_rewritten(self._tenant, batch_id, name, content.version, after, found.rows)
            if content.in_parts:
                objects.delete_parts(self._tenant, batch_id, name)
        if after.version != content.version:
            objects.delete(content.key, content.version)
        return found.rows

    # Whose rows they are

    def _batch(self, batch_id: str) -> Batch:
        if batch_id not in self._batches:
            self._batches[batch_id] = self._lake.batches.get(self._tenant, batch_id)
        return self._batches[batch_id]

    def _fields_of(self, dataset_id: str) -> list[IdentityField]:
        """Return the identity fields of a dataset's schema as it is now."""
        schema = self._lake.configurations.current(self._tenant).schema_of(dataset_id)
        return self._fields_of_version(schema.version if schema is not None else "")

    def _fields_of_version(self, version: str) -> list[IdentityField]:
        if version not in self._fields:
            document = self._lake.schemas.get(version_partition(self._tenant), version) if version else None
            fields = document["identities"] if document is not None else []
            self._fields[version] = [IdentityField.from_document(field) for field in fields]
        return self._fields[version]

    def _note(self, unread: Unread) -> None:
        if unread not in self._at.unread:
            self._at.unread.append(unread)

    def _unread_rows(self, where: Address, dataset_id: str, rows: int) -> Unread | None:
        return self._unread(SOME_ROWS, where, dataset_id, rows) if rows else None

    def _unread(self, why: str, where: Address, dataset_id: str, rows: int = 0) -> Unread:
        directory = _DIRECTORIES.get(where.kind, "")
        name = where.name.rpartition("/")[0] if where.kind is RowKind.PART else where.name
        return Unread(why, directory + name, dataset_id, where.batch_id, rows)
