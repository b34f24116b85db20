"""Errors: the envelope that all of them come in, and the few whose bodies Adobe's gateway makes differently."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict


class Fault(TypedDict):
    """One thing that is wrong."""

    code: str
    message: str


# The names that the registry of schemas gives them.
RegistryReport = TypedDict(
    "RegistryReport",
    {"registryRequestId": str, "timestamp": str, "detailed-message": str, "sub-errors": list[str]},
)
RegistryReport.__doc__ = "What is wrong with a schema, for readers of the registry's own errors."


class Problem(TypedDict):
    """An error. `errors` holds what is wrong under the status; `detail` says more than `title` where there is more."""

    requestId: str
    errors: dict[str, list[Fault]]
    type: str
    title: str
    status: int
    detail: NotRequired[str]
    report: NotRequired[RegistryReport]


class EntityProblem(Problem):
    """An error of the entities, with the fields that their readers look for besides."""

    message: str
    cause: str
    statusCode: str


class EntitiesThrottled(TypedDict):
    """How entities are told to come back later."""

    message: str
    cause: str
    retryAfterMs: str
    statusCode: str


class Refusal(TypedDict):
    """A request without the headers it needs, or with a key or token that is not good."""

    error_code: str
    message: str


class UnusableContentType(TypedDict):
    """A body without a content type, or of one that is not read here."""

    type: str
    status: int
    title: str
    detail: NotRequired[str]


class ScopeMissing(TypedDict):
    """A good token that was issued for something else."""

    title: str
    status: int
    detail: str


class SenderReport(TypedDict):
    """What is wrong, after the inlet's id."""

    message: str


class SenderRefusal(TypedDict):
    """A message without the token that the inlet asks for."""

    type: str
    status: str
    title: str
    report: SenderReport


class StreamingViolation(TypedDict):
    """A rule that a row breaks: which, and where."""

    schemaLocation: str
    pointerToViolation: str
    causingExceptions: list[Any]
    keyword: str
    message: str


class MessageCause(TypedDict):
    """What is wrong with a row, the first few things."""

    _streamingValidation: list[StreamingViolation]


class MessageReport(TypedDict):
    """What is wrong, after the inlet and the organisation."""

    message: str
    cause: NotRequired[MessageCause]


class MessageRefusal(TypedDict):
    """A message that is refused; `detail` says what exactly is wrong with its header."""

    type: str
    status: int
    title: str
    report: MessageReport
    detail: NotRequired[str]


class NotProvisioned(TypedDict):
    """An organisation that this deployment does not serve."""

    message: str
    statusCode: str


# By status: the name of the shared answer, what it means, and which shapes it has besides the envelope.
ANSWERS: dict[int, tuple[str, str, tuple[Any, ...]]] = {
    400: ("BadRequest", "The request is malformed, or a header is missing", (Refusal, UnusableContentType)),
    401: ("Unauthorized", "The token is not good, or is for something else", (Refusal, ScopeMissing)),
    403: ("Forbidden", "The client may not do this, or not for this organisation", (Refusal, NotProvisioned)),
    404: ("NotFound", "There is no such thing in this sandbox, or no such sandbox", ()),
    405: ("MethodNotAllowed", "What is at this path cannot be changed", ()),
    409: ("Conflict", "Somebody else changes the same thing at the same time, or it is there already", ()),
    412: ("PreconditionFailed", "It is not at the version that `If-Match` names", ()),
    413: ("BodyTooLarge", "The body is larger than one call carries", ()),
    415: ("UnsupportedMediaType", "The body is of a type that is not read here", (UnusableContentType,)),
    416: ("RangeNotSatisfiable", "Nothing of the file is in the `Range`", ()),
    422: ("Unprocessable", "The request is well formed and cannot be done, or its answer would be too large", ()),
    428: ("PreconditionRequired", "`If-Match` must say what is to be changed", ()),
    429: ("TooManyRequests", "Too much at once: try again after `Retry-After` seconds", ()),
    500: ("InternalError", "Something went wrong on our side", ()),
    501: ("NotImplemented", "This cannot be asked for here", ()),
    503: ("Unavailable", "It was not taken: try again after `Retry-After` seconds", ()),
}
# These have no envelope at all.
BARE = {401, 415}
# How inlets answer otherwise than all other routes.
OF_INLETS: dict[int, tuple[str, str, Any]] = {
    400: ("InletBadRequest", "The message is none, or not for here, or not valid", MessageRefusal | Problem),
    401: ("InletUnauthorized", "The inlet asks for a token", SenderRefusal),
    403: ("InletForbidden", "The token is not good, or its client may not ingest there", SenderRefusal),
}
COMMON = (400, 401, 403, 404, 422, 429, 500)
OF_WRITES = (409,)
OF_BODIES = (413, 415)


def shapes(status: int, *, of_entities: bool) -> Any:
    """Return the type of the body of an error."""
    if status == 429 and of_entities:
        return list[EntitiesThrottled]
    envelope: Any = EntityProblem if of_entities else Problem
    kinds = ANSWERS[status][2] if status in BARE else (envelope, *ANSWERS[status][2])
    shape = kinds[0]
    for kind in kinds[1:]:
        shape |= kind
    return shape
