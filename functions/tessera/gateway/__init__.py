"""What every API function shares: who is asking, for whom, how requests are read and how answers are written.

    from tessera.gateway import Endpoint, Request, Response

    endpoint = Endpoint("widgets")

    @endpoint.get("/widgets/{id}", permission="read")
    def look_up(request: Request) -> Response:
        return Response(widgets.get(request.tenant, request.path_parameters["id"]))

    handler = endpoint.handler

An ``Endpoint`` is the only way to make an API function that clients call, an ``InletEndpoint`` the only way to make
one that messages come in to, and no handler runs before its checks (contract: profile-api §1.3, data-and-pql §4.5).
Handlers raise the errors of ``tessera.domain.errors`` or an ``ApiError``.
"""

from tessera.gateway._endpoint import Endpoint
from tessera.gateway._function import ApiFunction
from tessera.gateway._inlets import MAX_MESSAGE_BYTES, InletEndpoint
from tessera.gateway._messages import (
    JSON,
    JSON_PATCH,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    MAX_NESTING,
    OCTET_STREAM,
    PARQUET,
    InletRequest,
    Query,
    Request,
    Response,
    Sandbox,
    fits,
    nests_deeper,
    share_of_answer,
)
from tessera.gateway._problems import (
    ApiError,
    BodyTooLargeError,
    MalformedJsonError,
    ResponseTooLargeError,
    entity_problem,
    problem,
)
from tessera.gateway._routes import Permission, Route

__all__ = [
    "JSON",
    "JSON_PATCH",
    "MAX_ANSWER_BYTES",
    "MAX_BODY_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_NESTING",
    "OCTET_STREAM",
    "PARQUET",
    "ApiError",
    "ApiFunction",
    "BodyTooLargeError",
    "Endpoint",
    "InletEndpoint",
    "InletRequest",
    "MalformedJsonError",
    "Permission",
    "Query",
    "Request",
    "Response",
    "ResponseTooLargeError",
    "Route",
    "Sandbox",
    "entity_problem",
    "fits",
    "nests_deeper",
    "problem",
    "share_of_answer",
]
