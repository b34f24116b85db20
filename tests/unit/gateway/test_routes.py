"""Which handler answers, and with which parameters."""

from __future__ import annotations

import pytest

from tessera.gateway import JSON, ApiError, Request, Response, Route
from tessera.gateway._routes import Routes

FILES = "/import/batches/{batch}/datasets/{dataset}/files/{path+}"


def answer(_request: Request) -> Response:
    return Response({})


def route(method: str, pattern: str) -> Route[Request]:
    return Route(method, pattern, "read", answer, reads=False, accepts=(JSON,), too_large="")


@pytest.fixture
def routes() -> Routes[Request]:
    routes: Routes[Request] = Routes()
    for method, pattern in [
        ("GET", "/policies/{id}"),
        ("POST", "/policies/bulk-get"),
        ("GET", "/policies"),
        ("POST", "/policies"),
        ("PUT", FILES),
    ]:
        routes.add(route(method, pattern))
    return routes


def test_parameters_are_decoded_after_the_path_is_taken_apart(routes: Routes[Request]) -> None:
    assert routes.find("GET", "/policies/a%40b%2Bc%2Fd%20e")[1] == {"id": "a@b+c/d e"}


def test_a_greedy_parameter_takes_the_rest(routes: Routes[Request]) -> None:
    found, parameters = routes.find("PUT", "/import/batches/1/datasets/2/files/a/b%2e.json/../c")
    assert found.pattern == FILES
    assert parameters == {"batch": "1", "dataset": "2", "path": "a/b..json/../c"}


def test_slashes_at_the_end_are_tolerated(routes: Routes[Request]) -> None:
    assert routes.find("GET", "/policies/")[0].pattern == "/policies"
    assert routes.find("GET", "/policies/7//")[1] == {"id": "7"}


def test_a_literal_path_is_found_before_one_with_parameters(routes: Routes[Request]) -> None:
    assert routes.find("POST", "/policies/bulk-get")[0].pattern == "/policies/bulk-get"


@pytest.mark.parametrize("path", ["/", "", "/policy", "/policies/1/2", "/import/batches/1/datasets/2/files/"])
def test_a_path_that_is_none_is_not_found(routes: Routes[Request], path: str) -> None:
    with pytest.raises(ApiError) as caught:
        routes.find("GET", path)
    assert caught.value.status == 404


def test_a_method_that_is_none_is_told_which_there_are(routes: Routes[Request]) -> None:
    with pytest.raises(ApiError) as caught:
        routes.find("DELETE", "/policies")
    assert (caught.value.status, caught.value.headers) == (405, {"Allow": "GET, POST"})


def test_a_route_cannot_be_taken_twice(routes: Routes[Request]) -> None:
    with pytest.raises(ValueError, match="has a handler already"):
        routes.add(route("GET", "/policies"))


def test_all_routes_can_be_walked(routes: Routes[Request]) -> None:
    assert len(list(routes)) == 5
