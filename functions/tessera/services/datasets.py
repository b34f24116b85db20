"""The catalogue of datasets: described in the registry, in force through the configuration (contract: §4.1).

A dataset's description and its settings in the configuration change in one transaction, conditional on the version
of the configuration that the change started from. So two changes at once are made one after the other, neither
lost; whoever writes a description must go through here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from tessera.domain.configuration import Configuration, DatasetKind, DatasetSettings
from tessera.domain.dataset import SERVER_OWNED, normalised_tags, settings_of
from tessera.domain.errors import InvalidRequestError, NotFoundError, TesseraError
from tessera.domain.expiry import days_of, expiry_after
from tessera.domain.expiry_job import ExpiryJob
from tessera.domain.purge import Purge
from tessera.domain.tenant import Tenant
from tessera.domain.ulid import RANDOM_BITS, ulid
from tessera.services.expirations import Expirations
from tessera.services.lease import WRITERS_KNOW_AFTER_S

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

MAX_DATASETS = 1000
MAX_DESCRIPTION_BYTES = 64_000

Fields = dict[str, Any]


class Configurations(Protocol):
    """Where configurations are kept: ``storage.configuration.ConfigurationStore``."""

    def change(
        self,
        tenant: Tenant,
        mutate: Callable[[Configuration], Configuration],
        also: Callable[[], Sequence[TransactWriteItemTypeDef]],
    ) -> Configuration:
        """Make the next version atomically with the writes of ``also``, both called anew after a lost race."""


class Descriptions(Protocol):
    """Where descriptions are kept: ``storage.registry.Registry``."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""

    def each(self, partition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order."""

    def putting(
        self, partition: str, sort: str, document: Mapping[str, Any], *, only_new: bool = False
    ) -> TransactWriteItemTypeDef:
        """Describe the writing of a document."""

    def deleting(self, partition: str, sort: str) -> TransactWriteItemTypeDef:
        """Describe the deletion of a document."""


class Purges(Protocol):
    """What deletes the data of datasets: ``services.purging.accepting.Purges``."""

    def of_gone(self, dataset: DatasetSettings, caller: str) -> Purge:
        """Describe the deletion of the data of a dataset that is being deleted itself."""

    def adding(self, tenant: Tenant, job: Purge) -> Sequence[Any]:
        """Describe the writing of it, to be part of a transaction."""

    def begin(self, tenant: Tenant, job: Purge) -> None:
        """See to it that it is worked on."""


class DatasetNotFoundError(NotFoundError):
    """The sandbox has no dataset of that id, whatever others have."""

    def __init__(self, dataset_id: str) -> None:
        super().__init__(f"Dataset '{dataset_id[:64]}' does not exist in this sandbox")


class VersionMismatchError(TesseraError):
    """The dataset is not at the version that the caller wants to change."""


class DatasetCatalogue:
    """Creates, reads, changes and deletes datasets; ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        configurations: Configurations,
        descriptions: Descriptions,
        expirations: Expirations,
        purges: Purges,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._configurations = configurations
        self._descriptions = descriptions
        self._expirations = expirations
        self._purges = purges
        self._clock = clock

    def create(self, tenant: Tenant, sandbox_id: str, caller: str, fields: Fields) -> str:
        """Create a dataset from the fields a caller may set; return its id.

        Raises InvalidRequestError.
        """
        now = self._clock()
        dataset_id = _new_id(now)
        description = {
            "description": "",
            "observableSchema": {},
            "enableErrorDiagnostics": False,
            **_callers_own(fields),
            "imsOrg": tenant.org_id,
            "sandboxId": sandbox_id,
            "version": "1.0.0",
            "created": now,
            "updated": now,
            "createdClient": caller,
            "createdUser": caller,
            "updatedUser": caller,
            "viewId": _new_id(now),
            "files": f"@/dataSetFiles?dataSetId={dataset_id}",
        }

        def add(configuration: Configuration) -> Configuration:
            if len(configuration.datasets) >= MAX_DATASETS:
                raise InvalidRequestError(f"a sandbox can have at most {MAX_DATASETS} datasets")
            settings = settings_of(dataset_id, description, None, now, configuration.schemas)
            # Nobody writes to it yet, and nothing is stored that a job would have to see to.
            expiry = expiry_after(None, days_of(description), now, tracked_ms=now, job="")
            return configuration.with_dataset(replace(settings, expiry=expiry))

        self._configurations.change(
            tenant,
            add,
            lambda: [self._descriptions.putting(_partition(tenant), dataset_id, description, only_new=True)],
        )
        return dataset_id

    def get(self, tenant: Tenant, dataset_id: str) -> Fields:
        """Read a dataset's description.

        Raises DatasetNotFoundError.
        """
        return description_of(self._descriptions, tenant, dataset_id)

    def each(self, tenant: Tenant) -> Iterator[tuple[str, Fields]]:
        """Walk the sandbox's datasets by id, which is in order of their creation."""
        return each_description(self._descriptions, tenant)

    def change(
        self,
        tenant: Tenant,
        dataset_id: str,
        caller: str,
        edit: Callable[[Fields], Fields],
        if_version: str | None = None,
    ) -> Fields:
        """Change a dataset with ``edit``, which gets the whole description and returns what it is to be.

        ``edit`` may run several times; what it raises is passed on and nothing is changed. Fields that the service
        owns stay what they are. A TTL that is changed is in force at once, and a job sees to what is stored. Raises
        DatasetNotFoundError, InvalidRequestError and VersionMismatchError.
        """
        changed: Fields = {}
        asked_ms = self._clock()
        job = ExpiryJob(ulid(asked_ms, secrets.randbits(RANDOM_BITS)), dataset_id, caller, asked_ms, asked_ms)
        asked_for: list[ExpiryJob] = []

        def mutate(configuration: Configuration) -> Configuration:
            # Read after the pointer that the transaction is conditional on: a change in between fails it.
            before = self.get(tenant, dataset_id)
            _expect(before, if_version)
            changed.clear()
            changed.update(_callers_own(edit(before)))
            changed.update({name: before[name] for name in SERVER_OWNED if name in before})
            now = self._clock()
            changed.update(version=_next_version(before["version"]), updated=now, updatedUser=caller)
            before_settings = configuration.datasets.get(dataset_id)
            settings = settings_of(dataset_id, changed, before_settings, now, configuration.schemas)
            tracked_ms = now + int(WRITERS_KNOW_AFTER_S * 1000)
            expiry = expiry_after(settings.expiry, days_of(changed), now, tracked_ms=tracked_ms, job=job.id)
            asked_for[:] = [] if expiry == settings.expiry else [job]
            settings = replace(settings, expiry=expiry)
            if settings == before_settings:
                return configuration
            return configuration.with_dataset(settings)

        after = self._configurations.change(
            tenant,
            mutate,
            lambda: [
                self._descriptions.putting(_partition(tenant), dataset_id, changed),
                *(self._expirations.adding(tenant, one) for one in asked_for),
            ],
        )
        expiry = after.datasets[dataset_id].expiry
        if expiry is not None and expiry.job:
            self._expirations.ensure(tenant, expiry.job)
        return changed

    def delete(self, tenant: Tenant, dataset_id: str, caller: str, if_version: str | None = None) -> None:
        """Delete a dataset: from then on reads pass over everything it brought, and a job deletes that.

        Raises DatasetNotFoundError and VersionMismatchError.
        """
        jobs: list[Purge] = []

        def mutate(configuration: Configuration) -> Configuration:
            _expect(self.get(tenant, dataset_id), if_version)
            dataset = configuration.datasets.get(dataset_id)
            jobs.clear()
            # What exports brought is in files only.
            if dataset is not None and dataset.kind is not DatasetKind.UNION:
                jobs.append(self._purges.of_gone(dataset, caller))
            return configuration.without_dataset(dataset_id)

        def also() -> list[Any]:
            writes = [write for job in jobs for write in self._purges.adding(tenant, job)]
            return [self._descriptions.deleting(_partition(tenant), dataset_id), *writes]

        self._configurations.change(tenant, mutate, also)
        for job in jobs:
            self._purges.begin(tenant, job)


class WalksDescriptions(Protocol):
    """What descriptions can be walked in."""

    def each(self, partition: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Walk a partition in order."""


def each_description(descriptions: WalksDescriptions, tenant: Tenant) -> Iterator[tuple[str, Fields]]:
    """Walk the descriptions of the sandbox's datasets, by the datasets' ids."""
    return descriptions.each(_partition(tenant))


class ReadsDescriptions(Protocol):
    """What a description can be read from."""

    def get(self, partition: str, sort: str) -> dict[str, Any] | None:
        """Read one document."""


def description_of(descriptions: ReadsDescriptions, tenant: Tenant, dataset_id: str) -> Fields:
    """Read a dataset's description.

    Raises DatasetNotFoundError.
    """
    description = descriptions.get(_partition(tenant), dataset_id) if dataset_id else None
    if description is None:
        raise DatasetNotFoundError(dataset_id)
    return description


def _partition(tenant: Tenant) -> str:
    return f"{tenant.key}#dataset"


def _new_id(now_ms: int) -> str:
    """Make 24 hexadecimal digits that sort by time: seconds since 1970, then chance."""
    return f"{now_ms // 1000:08x}{secrets.token_hex(8)}"


def _callers_own(fields: Fields) -> Fields:
    """Keep what callers may set, normalised.

    Raises InvalidRequestError for more than an item should hold.
    """
    own = {name: value for name, value in fields.items() if name not in SERVER_OWNED and value is not None}
    own["tags"] = normalised_tags(own.get("tags", {}))
    size = len(orjson.dumps(own))
    if size > MAX_DESCRIPTION_BYTES:
        raise InvalidRequestError(f"the description has {size:,} bytes; at most {MAX_DESCRIPTION_BYTES:,} are kept")
    return own


def _expect(description: Fields, version: str | None) -> None:
    if version is not None and description["version"] != version:
        raise VersionMismatchError(f"The dataset is at version {description['version']}, not at the one given")


def _next_version(version: str) -> str:
    major_minor, _, patch = version.rpartition(".")
    return f"{major_minor}.{int(patch) + 1}"
