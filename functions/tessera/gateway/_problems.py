"""Errors as answers: one emitter for the service's envelopes (contract: profile-api §1.3, §1.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from tessera.domain import errors
from tessera.storage.registry import LostRaceError

_TYPE_BASE = "https://ns.adobe.com/aep/errors/"
_SHOWN_DEFECTS = 5
# An error may quote what was sent, and an answer has less room than a request.
_MOST_CHARACTERS = 2000
_RETRY_AFTER_MS = 500

_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Request body too large",
    415: "Unsupported media type",
    422: "Unprocessable request",
    429: "Too many requests",
    500: "Internal error",
    503: "Service unavailable",
}
_CODES = {
    400: "TESSERA-INVALID-REQUEST-400",
    403: "UPAPI-113752-403",
    404: "TESSERA-NOT-FOUND-404",
    405: "TESSERA-METHOD-NOT-ALLOWED-405",
    409: "TESSERA-CONFLICT-409",
    413: "TESSERA-BODY-TOO-LARGE-413",
    422: "TESSERA-UNPROCESSABLE-422",
    429: "TESSERA-TOO-MANY-REQUESTS-429",
    500: "TESSERA-INTERNAL-500",
    503: "TESSERA-UNAVAILABLE-503",
}
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "TooManyRequestsException",
        "SlowDown",
    }
)


class ApiError(Exception):
    """An answer that is an error: ``message`` tells the caller what is wrong and what to do.

    ``code`` ends in the status, as the known codes do; ``title`` is the short form of the message, and ``detail`` what
    there is to say beyond a message whose words the contract gives.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        title: str | None = None,
        code: str | None = None,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _cut(message)
        self.title = title or _TITLES.get(status, "Error")
        self.code = code or _CODES.get(status, f"TESSERA-ERROR-{status}")
        self.detail = _cut(detail or message)
        self.headers = dict(headers or {})

    def body(self, request_id: str, *, for_entities: bool = False) -> object:
        """Write the answer's JSON body; ``for_entities`` adds the keys that its readers look for."""
        return problem(
            self.status,
            self.message,
            request_id,
            title=self.title,
            code=self.code,
            detail=self.detail,
            for_entities=for_entities,
        )


def problem(
    status: int,
    message: str,
    request_id: str,
    *,
    title: str,
    code: str,
    detail: str | None = None,
    for_entities: bool = False,
) -> dict[str, Any]:
    """Write envelope E4, with the keys of E5 for entities (contract: profile-api §1.4)."""
    body: dict[str, Any] = {
        "requestId": request_id,
        "errors": {str(status): [{"code": code, "message": message}]},
        "type": _TYPE_BASE + code,
        "title": title,
        "status": status,
    }
    detail = detail or message
    if detail != title:
        body["detail"] = detail
    if for_entities:
        body |= {"message": message, "cause": "", "statusCode": str(status)}
    return body


def entity_problem(error: Exception, request_id: str) -> object:
    """Write what is wrong with one of several entities (envelope E7's inner part, contract: profile-api §1.4)."""
    translated = translate(error)
    if translated is None:
        raise error
    return translated.body(request_id, for_entities=True)


class VerbatimError(ApiError):
    """A refusal whose body the contract gives word for word, without a request id (contract: profile-api §1.3)."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status, str(body.get("message") or body.get("title")))
        self._body = body

    def body(self, request_id: str, *, for_entities: bool = False) -> object:
        """Return the contract's body as it is, on every endpoint."""
        return self._body


class ThrottledError(ApiError):
    """Storage asks for less: the caller may repeat the call, after the time given."""

    def __init__(self) -> None:
        super().__init__(429, "Too many requests at once: try again", headers={"Retry-After": "1"})

    def body(self, request_id: str, *, for_entities: bool = False) -> object:
        """Write E4, or E6 for entities, which is an array (contract: profile-api §1.4)."""
        if for_entities:
            return [
                {"message": self.message, "cause": "", "retryAfterMs": str(_RETRY_AFTER_MS), "statusCode": "429"},
            ]
        return super().body(request_id)


class MalformedJsonError(ApiError):
    """The body is not JSON that the service reads; the code says 500, the status is 400 (contract: §2.6)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            400,
            "There is a problem extracting the user JSON, field(s) missing or invalid. Correct and try again.",
            code="UPLIB-101206-500",
            detail=reason,
        )


class BodyTooLargeError(ApiError):
    """The body passes what one call carries through a function (design: The API and its callers)."""

    def __init__(self, size: int, limit: int, advice: str) -> None:
        super().__init__(413, f"The body has {size:,} bytes; one call carries at most {limit:,}. {advice}")


class ResponseTooLargeError(ApiError):
    """The answer passes what a function can return (design: The API and its callers)."""

    def __init__(self, advice: str = "Use `fields` to ask for less.") -> None:
        super().__init__(
            422,
            f"The answer is larger than 5.5 MB. {advice}",
            title="The answer is too large",
            code="TESSERA-ANSWER-TOO-LARGE-422",
        )


def _verbatim(status: int, code: str, message: str) -> VerbatimError:
    return VerbatimError(status, {"error_code": code, "message": message})


def token_missing() -> VerbatimError:
    """Refuse a request without an ``Authorization`` header."""
    return _verbatim(403, "403010", "Oauth token is missing.")


def token_invalid() -> VerbatimError:
    """Refuse a token that is expired, forged, foreign or none."""
    return _verbatim(401, "401013", "Oauth token is not valid")


def scope_missing(scope: str) -> VerbatimError:
    """Refuse a valid token that was issued for something else."""
    return VerbatimError(
        401, {"title": "Unauthorized", "status": 401, "detail": f"The token lacks the scope '{scope}'"}
    )


def api_key_missing() -> VerbatimError:
    """Refuse a request without an ``x-api-key`` header."""
    return _verbatim(403, "403000", "Api Key is required")


def api_key_invalid() -> VerbatimError:
    """Refuse a key that nobody has, or that is not the token's."""
    return _verbatim(403, "403003", "Api Key is invalid")


def header_missing() -> VerbatimError:
    """Refuse a request without a required header other than the key and the token."""
    return _verbatim(400, "400003", "Missing header")


def not_entitled() -> VerbatimError:
    """Refuse a caller who may not act for this organisation."""
    return _verbatim(403, "403025", "Profile is not valid")


def organisation_malformed() -> VerbatimError:
    """Refuse an organisation id that cannot be one."""
    return _verbatim(403, "403027", "User region is missing")


def not_provisioned() -> VerbatimError:
    """Refuse an organisation that the caller is entitled to but this deployment does not have."""
    return VerbatimError(403, {"message": "UPS-ACC-1000004: IMS Org is not provisioned.", "statusCode": "403"})


def content_type_missing() -> VerbatimError:
    """Refuse a body without a ``Content-Type``."""
    return VerbatimError(
        400,
        {
            "type": "/placeholder/type/uri",
            "status": 400,
            "title": "BadRequestError",
            "detail": "A valid content-type must be specified",
        },
    )


def content_type_unsupported() -> VerbatimError:
    """Refuse a body of a type that the route does not read."""
    return VerbatimError(
        415,
        {
            "status": 415,
            "title": "HTTP 415 Unsupported Media Type",
            "type": "http://ns.adobe.com/adobecloud/problem/unsupported-media-type",
        },
    )


def sender_unknown(inlet_id: str) -> VerbatimError:
    """Refuse a message without a token for an inlet that asks for one (contract: data-and-pql §4.5)."""
    return _unauthorised(401, inlet_id, "Ims service token is empty")


def sender_refused(inlet_id: str, reason: str) -> VerbatimError:
    """Refuse a message for an inlet that asks for another token."""
    return _unauthorised(403, inlet_id, reason)


def _unauthorised(status: int, inlet_id: str, reason: str) -> VerbatimError:
    return VerbatimError(
        status,
        {
            "type": "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization",
            "status": str(status),
            "title": "Authorization",
            "report": {"message": f"[{inlet_id}] {reason}"},
        },
    )


def permission_denied(permission: str) -> ApiError:
    """Refuse a caller who is registered without the permission that the route needs."""
    return ApiError(403, f"This client does not have the permission '{permission}'", title="Permission denied")


def translate(error: Exception) -> ApiError | None:
    """Say how an exception is answered; ``None`` for one that is our own fault."""
    answer: ApiError | None = None
    match error:
        case ApiError():
            answer = error
        case errors.RateLimitError():
            answer = ApiError(429, str(error), headers={"Retry-After": str(error.retry_after_s)})
        case errors.TesseraError():
            status, title, code = next(row for kind, row in _DOMAIN_ERRORS.items() if isinstance(error, kind))
            answer = ApiError(status, str(error), title=title, code=code)
        case ValidationError():
            answer = ApiError(400, _defects(error))
        case LostRaceError():
            answer = ApiError(409, "Somebody else changes the same thing at the same time: try again")
        case ClientError() if _throttled(error):
            answer = ThrottledError()
    return answer


# The first kind that fits, so the particular ones stand before the general ones.
_DOMAIN_ERRORS: dict[type[errors.TesseraError], tuple[int, str | None, str | None]] = {
    errors.EntityNotFoundError: (404, "Entity not found", "UPLIB-201001-404"),
    errors.MergePolicyNotFoundError: (404, "Merge policy not found", "UPLIB-101221-404"),
    errors.TooManyRelatedIdentitiesError: (422, "Too many related identities", "UPS-ACCSDK-1000005-422"),
    errors.UndecodableXidError: (422, "Identities cannot be retrieved", "UPS-MRG-1000001-422"),
    errors.NotFoundError: (404, None, None),
    errors.UnprocessableError: (422, None, None),
    errors.ConflictError: (409, None, None),
    errors.TesseraError: (400, None, None),
}


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _throttled(error: ClientError) -> bool:
    if error.response["Error"]["Code"] in _THROTTLED:
        return True
    reasons = error.response.get("CancellationReasons", [])
    return any(reason.get("Code") in {"ThrottlingError", "ProvisionedThroughputExceeded"} for reason in reasons)


def _defects(error: ValidationError) -> str:
    """Put pydantic's findings into one line, each with where it is; the values found are not repeated."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(str(step) for step in defect['loc']) or 'body'}: {defect['msg'].removeprefix('Value error, ')}"
        for defect in found[:_SHOWN_DEFECTS]
    ]
    if len(found) > _SHOWN_DEFECTS:
        lines.append(f"and {len(found) - _SHOWN_DEFECTS} more")
    return "; ".join(lines)
