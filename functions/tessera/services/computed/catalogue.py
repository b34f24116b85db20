"""The catalogue of computed attributes: described in the registry, in force through the configuration.

A definition is a document under ``<tenant>#attribute``; its name is held by another, under ``<tenant>#attribute-name``,
for as long as the definition exists. What a caller changes is one transaction with the configuration and conditional
on the version that the change started from: so two changes at once are made one after the other, and a name, the limit
of attributes and what a look-up shows are decided for all of them together.

A backfill notes how far it is in the document alone, conditional on the document, for the configuration is read by
every look-up. A caller's change may write over such a note: then the attribute has just been disabled, and the note
means nothing any more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from tessera.domain.computed.definition import Definition, Edit, Progress, Status, Wanted
from tessera.domain.computed.rule import Rule
from tessera.domain.computed.window import Window
from tessera.domain.configuration import Configuration
from tessera.domain.errors import InvalidRequestError, NotFoundError
from tessera.domain.tenant import Tenant

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

# Published and not disabled, per sandbox (contract: data-and-pql §1.7).
MAX_ACTIVE = 25

_ID = re.compile(r"[0-9a-f-]{36}\Z")


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def change(
        self,
        tenant: Tenant,
        mutate: Callable[[Configuration], Configuration],
        also: Callable[[], Sequence[TransactWriteItemTypeDef]],
    ) -> Configuration:
        """Make the next version atomically with the writes of ``also``, both called anew after a lost race."""


class Documents(Protocol):
    """Where definitions and names are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def each(self, partition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order."""

    def change(
        self, partition: str, sort: str, mutate: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Change one document atomically; ``None`` if it is not there."""

    def putting(
        self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False
    ) -> TransactWriteItemTypeDef:
        """Describe the writing of a document."""

    def deleting(self, partition: str, sort: str) -> TransactWriteItemTypeDef:
        """Describe the deletion of a document."""


class Compiled(Protocol):
    """What an expression turns out to be."""

    @property
    def rule(self) -> Rule:
        """How its values are kept and combined."""

    @property
    def result_type(self) -> str:
        """The type of its value, as PQL names types."""


class Machine(Protocol):
    """What backfills."""

    def start(self, name: str, document: Mapping[str, Any]) -> None:
        """Start an execution unless there was one of that name."""


class AttributeCatalogue:
    """Creates, reads, changes and deletes computed attributes, and notes how far their backfills are.

    ``compile_attribute`` reads an expression for a window or raises InvalidRequestError; ``limit`` is how many active
    ones a sandbox can have; ``clock_ms`` gives milliseconds since 1970.
    """

    def __init__(
        self,
        configurations: Configurations,
        documents: Documents,
        compile_attribute: Callable[[str, Window], Compiled],
        machine: Machine,
        limit: int = MAX_ACTIVE,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._documents = documents
        self._compile = compile_attribute
        self._machine = machine
        self._limit = limit
        self._clock_ms = clock_ms

    def get(self, tenant: Tenant, attribute_id: str) -> Definition:
        """Read one.

        Raises NotFoundError.
        """
        document = self._documents.get(_partition(tenant), attribute_id) if _ID.match(attribute_id) else None
        if document is None:
            raise _not_found(attribute_id)
        return Definition.from_document(document)

    def each(self, tenant: Tenant) -> Iterator[Definition]:
        """Walk all of a sandbox, in no particular order."""
        for _, document in self._documents.each(_partition(tenant)):
            yield Definition.from_document(document)

    def create(self, tenant: Tenant, caller: str, wanted: Wanted) -> Definition:
        """Create one, as a draft or published at once; then its backfill is started.

        When that fails the attribute is there and NEW: setting it to NEW once more starts it. Raises
        InvalidRequestError.
        """
        compiled = self._compile(wanted.expression, wanted.window)
        now_ms = self._clock_ms()
        created = Definition(
            id=str(uuid4()),
            name=wanted.name,
            display_name=wanted.display_name,
            description=wanted.description,
            expression=wanted.expression,
            window=wanted.window,
            function=compiled.rule.function,
            result_type=compiled.result_type,
            keep_current=wanted.keep_current,
            status=Status.NEW if wanted.publish else Status.DRAFT,
            created_ms=now_ms,
            created_by=caller,
            updated_ms=now_ms,
        )
        created = self._commit(tenant, lambda: (None, created))
        if wanted.publish:
            self._start(tenant, created)
        return created

    def change(self, tenant: Tenant, attribute_id: str, edit: Edit) -> Definition:
        """Change one: edit a draft, publish it, or disable a published one. Publishing starts its backfill.

        Raises NotFoundError and InvalidRequestError.
        """

        def decide() -> tuple[Definition, Definition]:
            before = self.get(tenant, attribute_id)
            after = before.edited(edit, self._clock_ms())
            if before.status is Status.DRAFT:
                compiled = self._compile(after.expression, after.window)
                after = replace(after, function=compiled.rule.function, result_type=compiled.result_type)
            return before, after

        changed = self._commit(tenant, decide)
        if edit.status is Status.NEW:
            self._start(tenant, changed)
        return changed

    def delete(self, tenant: Tenant, attribute_id: str) -> Definition:
        """Delete a draft and give its name back; return what it was.

        Raises NotFoundError, and InvalidRequestError for anything else than a draft.
        """
        deleted: list[Definition] = []

        def mutate(configuration: Configuration) -> Configuration:
            before = self.get(tenant, attribute_id)
            if before.status is not Status.DRAFT:
                raise InvalidRequestError(
                    f"This computed attribute is {before.status}: only a DRAFT can be deleted, a published one is "
                    "set to DISABLED instead"
                )
            deleted[:] = [before]
            return configuration

        self._configurations.change(
            tenant,
            mutate,
            lambda: [
                self._documents.deleting(_partition(tenant), attribute_id),
                self._documents.deleting(_names(tenant), deleted[0].name),
            ],
        )
        return deleted[0]

    def advance(
        self,
        tenant: Tenant,
        attribute_id: str,
        status: Status,
        *,
        progress: Progress | None = None,
        failure: str = "",
    ) -> Definition:
        """Note how far a backfill is; safe to repeat. What is further already, or disabled, stays as it is.

        With PROCESSED the attribute's values show from the next read on. Raises NotFoundError.
        """

        def advanced(before: Definition) -> Definition:
            return before.advanced(status, self._clock_ms(), progress, failure)

        if status is Status.PROCESSED:

            def decide() -> tuple[Definition, Definition]:
                before = self.get(tenant, attribute_id)
                return before, advanced(before)

            return self._commit(tenant, decide)
        document = self._documents.change(
            _partition(tenant), attribute_id, lambda known: advanced(Definition.from_document(known)).to_document()
        )
        if document is None:
            raise _not_found(attribute_id)
        return Definition.from_document(document)

    def _commit(self, tenant: Tenant, decide: Callable[[], tuple[Definition | None, Definition]]) -> Definition:
        """Write what ``decide`` makes of a definition, together with what that means for the configuration."""
        decided: list[Definition] = []
        writes: list[TransactWriteItemTypeDef] = []

        def mutate(configuration: Configuration) -> Configuration:
            before, after = decide()
            configuration, after = self._in_force(configuration, before, after)
            writes[:] = self._writes(tenant, before, after)
            decided[:] = [after]
            return configuration

        self._configurations.change(tenant, mutate, lambda: writes)
        return decided[0]

    def _in_force(
        self, configuration: Configuration, before: Definition | None, after: Definition
    ) -> tuple[Configuration, Definition]:
        was_published = before is not None and before.published
        if after.published and not was_published:
            if len(configuration.attributes) >= self._limit:
                raise InvalidRequestError(
                    f"This sandbox has {len(configuration.attributes)} active computed attributes and can have "
                    f"{self._limit}: disable one first, or keep this one as a DRAFT"
                )
            rule = self._compile(after.expression, after.window).rule
            configuration = configuration.with_attribute(after.name, after.expression, rule)
            after = replace(after, number=configuration.last_attribute)
        elif was_published and not after.published:
            configuration = configuration.without_attribute(after.name)
        elif after.status is Status.PROCESSED and after != before:
            configuration = configuration.with_ready_attribute(after.name)
        return configuration, after

    def _writes(self, tenant: Tenant, before: Definition | None, after: Definition) -> list[TransactWriteItemTypeDef]:
        if after == before:
            return []
        writes = [
            self._documents.putting(_partition(tenant), after.id, after.to_document(), only_new=before is None),
        ]
        if before is None or before.name != after.name:
            self._expect_free(tenant, after.name)
            writes.append(self._documents.putting(_names(tenant), after.name, {"id": after.id}, only_new=True))
            if before is not None:
                writes.append(self._documents.deleting(_names(tenant), before.name))
        return writes

    def _expect_free(self, tenant: Tenant, name: str) -> None:
        """Raise InvalidRequestError if an attribute has the name, in the contract's words (data-and-pql §1.6)."""
        holder = self._documents.get(_names(tenant), name)
        if holder is not None:
            raise InvalidRequestError(
                "Function with the same name already exists for the specified schema or definedOn: the computed "
                f"attribute {holder['id']} is called '{name}'. Choose another name"
            )

    def _start(self, tenant: Tenant, definition: Definition) -> None:
        # By its id: asked for twice, it runs once.
        self._machine.start(
            definition.id, {"org_id": tenant.org_id, "sandbox": tenant.sandbox, "attribute_id": definition.id}
        )


def _partition(tenant: Tenant) -> str:
    return f"{tenant.key}#attribute"


def _names(tenant: Tenant) -> str:
    return f"{tenant.key}#attribute-name"


def _not_found(attribute_id: str) -> NotFoundError:
    return NotFoundError(f"Computed attribute {attribute_id[:64]} does not exist in this sandbox")
