"""The shared entry point of functions that clients call: there is no other way to make one."""

from __future__ import annotations

from collections.abc import Callable

from tessera.domain.tenant import Tenant
from tessera.gateway._admission import admission
from tessera.gateway._function import ApiFunction, Exchange, body_of
from tessera.gateway._messages import JSON, Query, Request, Response
from tessera.gateway._routes import Handler, Permission, Route

_SEND_LESS = (
    "Send less in one call. A larger file for a batch goes straight to storage, to the address that "
    "POST …/files/{path}?action=PRESIGN gives."
)


class Endpoint(ApiFunction[Request]):
    """One API function that clients call.

    A request is checked in this order, and the first check that fails answers: API key, token, organisation,
    entitlement, path and method, permission, sandbox, content type, size; then the handler parses and validates
    (contract: profile-api §1.3).
    """

    def get(self, pattern: str, *, permission: Permission) -> Callable[[Handler], Handler]:
        """Answer a GET, and nothing is changed by it."""
        return self._route("GET", pattern, permission, reads=True)

    def head(self, pattern: str, *, permission: Permission) -> Callable[[Handler], Handler]:
        """Answer a HEAD, and nothing is changed by it."""
        return self._route("HEAD", pattern, permission, reads=True)

    def post(
        self,
        pattern: str,
        *,
        permission: Permission,
        reads: bool = False,
        accepts: tuple[str, ...] = (JSON,),
        too_large: str = _SEND_LESS,
    ) -> Callable[[Handler], Handler]:
        """Answer a POST; ``reads`` marks one that changes nothing, ``accepts`` lists the content types read."""
        return self._route("POST", pattern, permission, reads=reads, accepts=accepts, too_large=too_large)

    def put(
        self, pattern: str, *, permission: Permission, accepts: tuple[str, ...] = (JSON,), too_large: str = _SEND_LESS
    ) -> Callable[[Handler], Handler]:
        """Answer a PUT; ``too_large`` is the advice of the 413 for a body over the limit."""
        return self._route("PUT", pattern, permission, accepts=accepts, too_large=too_large)

    def patch(
        self, pattern: str, *, permission: Permission, accepts: tuple[str, ...] = (JSON,), too_large: str = _SEND_LESS
    ) -> Callable[[Handler], Handler]:
        """Answer a PATCH."""
        return self._route("PATCH", pattern, permission, accepts=accepts, too_large=too_large)

    def delete(self, pattern: str, *, permission: Permission) -> Callable[[Handler], Handler]:
        """Answer a DELETE; a body is passed over."""
        return self._route("DELETE", pattern, permission)

    def _route(
        self,
        method: str,
        pattern: str,
        permission: Permission,
        *,
        reads: bool = False,
        accepts: tuple[str, ...] = (JSON,),
        too_large: str = _SEND_LESS,
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self._routes.add(Route(method, pattern, permission, handler, reads, accepts, too_large))
            return handler

        return register

    def _answer(self, exchange: Exchange) -> Response:
        door = admission()
        caller = door.caller(exchange.headers)
        route, parameters = self._routes.find(exchange.method, exchange.path)
        exchange.route = route.pattern
        door.permit(caller, route.permission)
        sandbox = door.sandbox(caller.org_id, exchange.headers, may_default=route.reads)
        exchange.tenant = Tenant(caller.org_id, sandbox.name)
        request = Request(
            method=exchange.method,
            route=route.pattern,
            tenant=exchange.tenant,
            sandbox=sandbox,
            caller=caller.client_id,
            path_parameters=parameters,
            query=Query(exchange.event.get("multiValueQueryStringParameters")),
            headers=exchange.headers,
            raw_body=body_of(exchange, route),
            request_id=exchange.request_id,
        )
        return route.handler(request)
