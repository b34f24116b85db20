"""The shared entry point of functions that messages come in to: an inlet admits them (contract: data-and-pql §4.5).

Such a route is a function's of its own kind, so none can be reached without the checks of its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tessera.gateway._admission import admission
from tessera.gateway._function import ApiFunction, Exchange, body_of
from tessera.gateway._messages import JSON, InletRequest, Query, Response
from tessera.gateway._routes import InletHandler, Route
from tessera.services.inlets import Inlets
from tessera.storage import aws
from tessera.storage.rate_limits import RateLimiter
from tessera.storage.registry import Registry

MAX_MESSAGE_BYTES = 1 << 20
_PARAMETER = "{inlet}"
_SEND_LESS = "Send fewer messages at a time, or a batch."


class InletEndpoint(ApiFunction[InletRequest]):
    """One API function that messages come in to, each by the inlet that its path names.

    A request is checked in this order, and the first check that fails answers: path and method, inlet, token if the
    inlet asks for one, content type, size. The inlet says whose the messages are; no header does.
    """

    def post(
        self, pattern: str, *, accepts: tuple[str, ...] = (JSON,), max_bytes: int = MAX_MESSAGE_BYTES
    ) -> Callable[[InletHandler], InletHandler]:
        """Answer a POST to a path that names the inlet: ``{inlet}``."""
        if _PARAMETER not in pattern.split("/"):
            raise ValueError(f"{pattern} names no inlet")

        def register(handler: InletHandler) -> InletHandler:
            self._routes.add(Route("POST", pattern, "ingest", handler, False, accepts, _SEND_LESS, max_bytes))
            return handler

        return register

    def _answer(self, exchange: Exchange) -> Response:
        route, parameters = self._routes.find(exchange.method, exchange.path)
        exchange.route = route.pattern
        inlet = _inlets().find(parameters["inlet"])
        exchange.tenant = inlet.tenant
        caller = admission().sender(inlet, exchange.headers) if inlet.authentication_required else None
        request = InletRequest(
            route=route.pattern,
            inlet=inlet,
            caller=caller,
            query=Query(exchange.event.get("multiValueQueryStringParameters")),
            headers=exchange.headers,
            raw_body=body_of(exchange, route),
            request_id=exchange.request_id,
        )
        return route.handler(request)


@cache
def _inlets() -> Inlets:
    client, table = aws.dynamodb(), aws.registry_table()
    return Inlets(Registry(client, table), RateLimiter(client, table))
