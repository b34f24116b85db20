"""What can be wrong with a request, said in the domain's words; the gateway turns it into an answer."""

from __future__ import annotations


class TesseraError(Exception):
    """Base of every error a caller can cause; ``str(error)`` says what is wrong and what to do."""


class InvalidRequestError(TesseraError):
    """The request is malformed or asks for something the service does not have."""


class NotFoundError(TesseraError):
    """The thing asked for does not exist in this organisation and sandbox."""


class EntityNotFoundError(NotFoundError):
    """No record, event or link is stored for the identity (contract: profile-api §2.3)."""

    def __init__(self) -> None:
        super().__init__("Entity not found")


class MergePolicyNotFoundError(NotFoundError):
    """The merge policy asked for does not exist (contract: profile-api §2.2)."""

    def __init__(self) -> None:
        super().__init__("Merge policy not found")


class UnprocessableError(TesseraError):
    """The request is well formed, but cannot be answered for this data."""


class UndecodableXidError(UnprocessableError):
    """An ``entityId`` without a namespace is not an XID (contract: profile-api §2.2)."""

    def __init__(self, xid: str, graph_type: str) -> None:
        super().__init__(
            f'UPS-MRG-1000001:Identities cannot be retrieved for XID - "{xid}" for graph type "{graph_type}"'
        )


class TooManyRelatedIdentitiesError(UnprocessableError):
    """The identity graph is larger than a look-up may read (contract: profile-api §2.2)."""

    def __init__(self, count: int, maximum: int) -> None:
        super().__init__(f"UPS-ACCSDK-1000005:Too many related identities. Got: {count}, max: {maximum}")


class ConflictError(TesseraError):
    """The thing is in a state in which the request cannot be done."""


class RateLimitError(TesseraError):
    """The caller has asked too often; in ``retry_after_s`` seconds it may ask again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
