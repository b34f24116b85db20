"""Applying JSON Patch to documents that callers do not own alone."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer
import orjson

from api.models.dataset import Patch
from tessera.domain.errors import InvalidRequestError
from tessera.gateway import MAX_NESTING, nests_deeper

# Each `copy` can double a document, so a hundred of them would not fit into any memory.
_MAX_DOCUMENT_BYTES = 256_000


def apply(patch: Patch, document: dict[str, Any], read_only: frozenset[str]) -> dict[str, Any]:
    """Return the document with every operation done.

    Raises InvalidRequestError when one cannot be done, or would change a field of ``read_only``.
    """
    for number, operation in enumerate(patch.root):
        forbidden = operation.touches() & read_only
        if forbidden:
            raise InvalidRequestError(f"operation {number}: {', '.join(sorted(forbidden))} cannot be changed")
        single = operation.model_dump(by_alias=True, exclude_unset=True)
        try:
            document = jsonpatch.apply_patch(document, [single])
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
            raise InvalidRequestError(f"operation {number} ({operation.op} {operation.path}): {error}") from None
        if nests_deeper(document, MAX_NESTING):
            raise InvalidRequestError(f"operation {number} nests the document deeper than {MAX_NESTING} levels")
        if len(orjson.dumps(document)) > _MAX_DOCUMENT_BYTES:
            raise InvalidRequestError(f"operation {number} makes the document too large")
    return document


def merge(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into the document at every level, as RFC 7396 does: ``null`` takes a field away."""
    merged = dict(document)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged
