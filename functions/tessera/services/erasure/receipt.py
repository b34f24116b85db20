"""The receipt of an erasure: what was swept, the round that found nothing, and what remains by design (law 7)."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.erasure import Erasure, HoldingExport, Look, Source
from tessera.domain.tenant import Tenant
from tessera.services.erasure.ports import Erasures


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did and left. ``sources`` brought what was swept, ``exports`` still have rows of the persons.

    ``looks`` are the readings of the lake, if that was asked for.
    """

    erasure: Erasure
    sources: list[Source]
    exports: list[HoldingExport]
    looks: list[Look]


def receipt_of(erasures: Erasures, tenant: Tenant, job_id: str) -> Receipt:
    """Put the receipt of an erasure together, as far as it is done.

    Raises NotFoundError.
    """
    erasure = erasures.get(tenant, job_id)
    return Receipt(
        erasure,
        erasures.sources(tenant, job_id),
        erasures.exports(tenant, job_id),
        erasures.looks(tenant, job_id),
    )
