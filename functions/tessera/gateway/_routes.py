"""Which handler answers a method and a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar
from urllib.parse import unquote

from tessera.gateway._messages import MAX_BODY_BYTES, InletRequest, Received, Request, Response, is_text
from tessera.gateway._problems import ApiError

Permission = Literal["read", "ingest", "configure", "erase"]
Handler = Callable[[Request], Response]
InletHandler = Callable[[InletRequest], Response]
R = TypeVar("R", bound=Received)

_PARAMETER = re.compile(r"\{(\w+)(\+?)\}")


@dataclass(frozen=True, slots=True)
class Route(Generic[R]):
    """A method and a path, spelled as API Gateway spells it: ``{id}`` is one segment, ``{path+}`` is the rest.

    ``reads`` tells that nothing is changed, so that the sandbox may be left out (contract: profile-api §1.3).
    """

    method: str
    pattern: str
    permission: Permission
    handler: Callable[[R], Response]
    reads: bool
    accepts: tuple[str, ...]
    too_large: str
    max_bytes: int = MAX_BODY_BYTES


class Routes(Generic[R]):
    """The routes of one endpoint. A literal path is found before one with parameters, whatever their order."""

    def __init__(self) -> None:
        self._literal: dict[str, dict[str, Route[R]]] = {}
        self._parametrised: list[tuple[re.Pattern[str], dict[str, Route[R]]]] = []
        self._by_pattern: dict[str, dict[str, Route[R]]] = {}

    def __iter__(self) -> Iterator[Route[R]]:
        for methods in self._by_pattern.values():
            yield from methods.values()

    def add(self, route: Route[R]) -> None:
        """Add a route; ValueError if its method and pattern are taken."""
        methods = self._by_pattern.get(route.pattern)
        if methods is None:
            methods = self._by_pattern[route.pattern] = {}
            if "{" in route.pattern:
                self._parametrised.append((_compile(route.pattern), methods))
            else:
                self._literal[route.pattern] = methods
        if route.method in methods:
            raise ValueError(f"{route.method} {route.pattern} has a handler already")
        methods[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route[R], dict[str, str]]:
        """Find the route for a path as it came, still encoded, and the decoded values of its parameters.

        Raises ApiError: 404 for a path nobody answers, 405 for a method that the path does not have.
        """
        path = path.rstrip("/") or "/"
        methods, parameters = self._match(path) if is_text(path) else (None, {})
        if methods is None:
            raise ApiError(404, "There is nothing at this path")
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise ApiError(405, f"This path answers {allowed}", headers={"Allow": allowed})
        return route, parameters

    def _match(self, path: str) -> tuple[Mapping[str, Route[R]] | None, dict[str, str]]:
        methods = self._literal.get(path)
        if methods is not None:
            return methods, {}
        for pattern, candidates in self._parametrised:
            match = pattern.match(path)
            if match:
                return candidates, {name: unquote(value) for name, value in match.groupdict().items()}
        return None, {}


def _compile(pattern: str) -> re.Pattern[str]:
    expression = ""
    position = 0
    for parameter in _PARAMETER.finditer(pattern):
        name, greedy = parameter.groups()
        expression += re.escape(pattern[position : parameter.start()])
        expression += f"(?P<{name}>{'.+' if greedy else '[^/]+'})"
        position = parameter.end()
    return re.compile(expression + re.escape(pattern[position:]) + r"\Z", re.DOTALL)
