"""Identities, namespaces and XIDs (contract: profile-api §2.2, §7)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

from tessera.domain.tenant import Tenant, digest, digester, url_safe

Xid = NewType("Xid", str)

MAX_IDENTITY_LENGTH = 1024
MAX_IDENTITIES_PER_ROW = 20
INDEX_SHARDS = 256

_XID_LENGTH = 28
_HASH_BYTES = 20
_PURPOSE = b"tessera.xid"
_EMAIL = "email"
_XID_ALPHABET = re.compile(r"[A-Za-z0-9_-]{28}\Z")
_ECID = re.compile(r"\d{38}\Z")
_NAMESPACE_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_PLACEHOLDERS = frozenset(
    {
        "",
        "null",
        "none",
        "nil",
        "nan",
        "undefined",
        "unknown",
        "anonymous",
        "n/a",
        "na",
        "not set",
        "(not set)",
    }
)
_ONLY_ZEROS = re.compile(r"[0\-:.{}]*0[0\-:.{}]*\Z")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A kind of identity: ``code`` as registered, ``id`` its number, ``type`` what it identifies.

    Of a ``unique`` namespace a person has one value. Times are seconds since 1970, 0 for those that always were.
    """

    code: str
    id: int
    type: str
    unique: bool = False
    name: str = ""
    description: str = ""
    created_s: int = 0
    updated_s: int = 0


# Identities of these types say nothing about persons (contract: profile-api §7).
UNLINKABLE_TYPES = frozenset({"NON_PEOPLE", "PARTNER"})


STANDARD_NAMESPACES = (
    Namespace("CORE", 0, "COOKIE"),
    Namespace("AdCloud", 411, "COOKIE"),
    Namespace("ECID", 4, "COOKIE"),
    Namespace("Email", 6, "EMAIL"),
    Namespace("Phone", 7, "PHONE"),
    Namespace("WAID", 8, "DEVICE"),
    Namespace("TNTID", 9, "COOKIE"),
    Namespace("AAID", 10, "COOKIE"),
    Namespace("Email_LC_SHA256", 11, "EMAIL"),
    Namespace("Phone_E.164", 14, "PHONE"),
    Namespace("Phone_SHA256_E.164", 17, "PHONE"),
    Namespace("GAID", 20914, "DEVICE"),
    Namespace("IDFA", 20915, "DEVICE"),
)
FIRST_CUSTOM_NAMESPACE_ID = 10_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """A namespace (its code in lower case) and a value in the form in which it is compared."""

    namespace: str
    value: str

    @property
    def named(self) -> bool:
        """Whether it is known what the identity is; see ``NAMELESS``."""
        return self != NAMELESS

    @classmethod
    def of(cls, namespace: str, value: str) -> Identity:
        """Normalise: codes compare case-insensitively, values exactly, e-mail addresses in lower case."""
        code = namespace.lower()
        return cls(code, value.lower() if code == _EMAIL else value)

    def xid(self, tenant: Tenant) -> Xid:
        """Return the identity's opaque key: a check byte and a 160-bit hash, so no personal data is in keys."""
        return _xid(tenant, self)


# Of the head that a restore made again: no more than the XID is known until a row names it.
NAMELESS = Identity("", "")


class Xids:
    """A set of XIDs of a tenant, made to look many identities up of which hardly any is in it."""

    def __init__(self, tenant: Tenant, xids: Iterable[Xid]) -> None:
        self._xids = {base64.urlsafe_b64decode(xid)[1:]: xid for xid in xids}
        self._of_namespace = digester(_HASH_BYTES, _PURPOSE, tenant.org_id, tenant.sandbox)
        # By the code as it is spelled.
        self._hashes: dict[str, Callable[[str], bytes]] = {}

    def find(self, code: str, value: str) -> Xid | None:
        """Return the XID of an identity as somebody spelled it, if it is in the set."""
        hash_of = self._hashes.get(code)
        if hash_of is None:
            namespace = code.lower()
            of_value = self._of_namespace(namespace)
            hash_of = (lambda value: of_value(value.lower())) if namespace == _EMAIL else of_value
            self._hashes[code] = hash_of
        return self._xids.get(hash_of(value))


@lru_cache(maxsize=8192)
def _xid(tenant: Tenant, identity: Identity) -> Xid:
    hashed = digest(_HASH_BYTES, _PURPOSE, tenant.org_id, tenant.sandbox, identity.namespace, identity.value)
    return Xid(url_safe(_check_byte(hashed) + hashed))


def _check_byte(hashed: bytes) -> bytes:
    return hashlib.blake2b(hashed, digest_size=1, person=b"tessera.check").digest()


def is_xid(text: str) -> bool:
    """Tell whether ``text`` can be an XID; a mistyped or foreign one fails its check byte (255 times in 256)."""
    if not _XID_ALPHABET.match(text):
        return False
    try:
        raw = base64.urlsafe_b64decode(text)
    except (ValueError, binascii.Error):
        return False
    return raw[:1] == _check_byte(raw[1:])


def shard_of(xid: Xid) -> int:
    """Shard of the sparse index that holds this identity, 0 to 255: the first byte of its hash."""
    return base64.urlsafe_b64decode(xid[:4])[1]


def is_namespace_code(text: str) -> bool:
    """Tell whether ``text`` can be the code of a namespace."""
    return _NAMESPACE_CODE.match(text) is not None


def is_placeholder(value: str) -> bool:
    """Tell whether a value stands for "nobody": it would collapse strangers into one person."""
    text = value.strip().lower()
    return text in _PLACEHOLDERS or _ONLY_ZEROS.match(text) is not None


def unusable_because(identity: Identity) -> str | None:
    """Say why an identity can be neither primary nor linked, or ``None`` when it can (contract: profile-api §7)."""
    if is_placeholder(identity.value):
        return f"the {identity.namespace} identity is a placeholder value"
    if len(identity.value) > MAX_IDENTITY_LENGTH:
        return f"the {identity.namespace} identity is longer than {MAX_IDENTITY_LENGTH} characters"
    if identity.namespace == "ecid" and not _ECID.match(identity.value):
        return "an ecid identity is not exactly 38 digits"
    return None
