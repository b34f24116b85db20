"""What every API function shares: who is asking, for whom, how requests are read and how answers are written.

    from tessera.gateway import Endpoint, Request, Response

    endpoint = Endpoint("widgets")

    @endpoint.get("/widgets/{id}", permission="read")
    def look_up(request: Request) -> Response:
        return Response(widgets.get(request.tenant, request.path_parameters["id"]))

    handler = endpoint.handler

An ``Endpoint`` is the only way to make an API function, and no handler runs before its checks
(contract: profile-api §1.3). Handlers raise the errors of ``tessera.domain.errors`` or an ``ApiError``.
"""

from tessera.gateway._endpoint import Endpoint
from tessera.gateway._messages import (
    JSON,
    JSON_PATCH,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    OCTET_STREAM,
    PARQUET,
    Query,
    Request,
    Response,
    Sandbox,
    fits,
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
    "OCTET_STREAM",
    "PARQUET",
    "ApiError",
    "BodyTooLargeError",
    "Endpoint",
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
    "problem",
]
