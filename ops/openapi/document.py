"""The document: every route of every API function, as the code registers it and its area describes it."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import api
from api import entities
from ops.openapi import (
    batches,
    computed_attributes,
    datasets,
    erasures,
    export_jobs,
    identities,
    inlets,
    merge_policies,
    problems,
    profiles,
    samples,
    schema_registry,
    streaming,
    system_jobs,
)
from ops.openapi.describing import MARK, Answer, Area, Operation, Parameter
from ops.openapi.schemas import Schemas, plain
from tessera.gateway import JSON, ApiFunction, InletEndpoint, Route
from tessera.gateway._admission import DEFAULT_SCOPE

AREAS = (
    profiles.AREA,
    merge_policies.AREA,
    computed_attributes.AREA,
    system_jobs.AREA,
    export_jobs.AREA,
    samples.AREA,
    erasures.AREA,
    identities.AREA,
    schema_registry.AREA,
    datasets.AREA,
    batches.AREA,
    inlets.AREA,
    streaming.AREA,
)

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_PARAMETER = re.compile(r"\{(\w+)\+?\}")
_WITH_BODY = {"POST", "PUT", "PATCH"}
_TEXT = (
    "Profiles, merge policies, computed attributes, exports, samples, erasures, identities, schemas, datasets, "
    "batches, inlets and streaming in the paths, bodies and errors of Adobe Experience Platform. "
    f"What is marked `{MARK}` is not Adobe's. "
    "`x-permission` is what a client must be registered for. Names of query parameters are read in any case, a "
    "trailing slash is passed over and every error has a JSON body."
)
_ORGANISATION = {
    "name": "x-gw-ims-org-id",
    "in": "header",
    "required": True,
    "description": "The organisation that the call is for",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}@AdobeOrg$"},
}
_HEADERS = {
    "Organisation": _ORGANISATION,
    "Sandbox": {
        "name": "x-sandbox-name",
        "in": "header",
        "required": True,
        "description": "The sandbox that the call is for; `x-sandbox-id` may stand in its place",
        "schema": {"type": "string"},
    },
    "SandboxToRead": {
        "name": "x-sandbox-name",
        "in": "header",
        "description": "The sandbox that the call is for, unless `x-sandbox-id` names it",
        "schema": {"type": "string", "default": "prod"},
    },
    "SandboxId": {
        "name": "x-sandbox-id",
        "in": "header",
        "description": "The sandbox that the call is for, by its id",
        "schema": {"type": "string"},
    },
    "RequestId": {
        "name": "x-request-id",
        "in": "header",
        "description": "A name for this call, which its answer and the log repeat",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    },
}
_SECURITY = {
    "client": {
        "type": "oauth2",
        "description": "A token for the client; `make run` and the outputs of a deployment say from where",
        "flows": {
            "clientCredentials": {
                "tokenUrl": "https://auth.example.com/oauth2/token",
                "scopes": {DEFAULT_SCOPE: "Call the API; what a client may do stands in the registry"},
            }
        },
    },
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The id of the same client"},
}
_RESPONSES = "#/components/responses/"
_REQUEST_ID = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}


def endpoints() -> Iterator[ApiFunction[Any]]:
    """Find the endpoints of all API functions."""
    for module in pkgutil.iter_modules(api.__path__):
        endpoint = getattr(importlib.import_module(f"api.{module.name}"), "endpoint", None)
        if isinstance(endpoint, ApiFunction):
            yield endpoint


def text(made: Mapping[str, Any]) -> str:
    """Write the document the one way it is committed."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def document() -> dict[str, Any]:
    """Make the document.

    Raises ValueError for a route without a description, and for a description without a route.
    """
    described = {key: (area, operation) for area in AREAS for key, operation in area.operations.items()}
    routes = {
        f"{route.method} {route.pattern}": (endpoint, route) for endpoint in endpoints() for route in endpoint.routes
    }
    if described.keys() != routes.keys():
        raise ValueError(
            f"Routes that ops/openapi does not describe: {sorted(routes.keys() - described.keys())}; "
            f"descriptions without a route: {sorted(described.keys() - routes.keys())}"
        )
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for key, (area, operation) in described.items():
        endpoint, route = routes[key]
        path = _PARAMETER.sub(r"{\1}", route.pattern)
        paths.setdefault(path, {})[route.method.lower()] = _operation(endpoint, route, area, operation, schemas)
    used = {
        answer["$ref"]
        for methods in paths.values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        if "$ref" in answer
    }
    responses = _problems(schemas, used)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tessera",
            "summary": "A real-time customer profile service",
            "description": _TEXT,
            "version": _version(),
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {
                "url": "{base}",
                "description": "Each deployment has its own; `make run` and its outputs say which",
                "variables": {"base": {"default": "https://api.example.com/v1"}},
            }
        ],
        "security": [{"client": [DEFAULT_SCOPE], "key": []}],
        "tags": [{"name": area.name, "description": area.text} for area in AREAS],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "parameters": _HEADERS,
            "headers": {"RequestId": {"description": "The name of the call", "schema": {"type": "string"}}},
            "responses": responses,
            "schemas": schemas.finish(),
        },
    }


def _operation(
    endpoint: ApiFunction[Any], route: Route[Any], area: Area, operation: Operation, schemas: Schemas
) -> dict[str, Any]:
    by_inlet = isinstance(endpoint, InletEndpoint)
    summary, _, more = plain(route.handler.__doc__ or "").removesuffix(".").partition("; ")
    if not summary:
        raise ValueError(f"{route.method} {route.pattern}: its handler says nothing of itself")
    made: dict[str, Any] = {
        "operationId": f"{endpoint.name}_{route.handler.__name__}",
        "tags": [area.name],
        "summary": summary,
        **({"description": f"{more[0].upper()}{more[1:]}."} if more else {}),
        "x-permission": route.permission,
        **({MARK: True} if operation.ours else {}),
        # Without a token, unless the inlet asks for one.
        **({"security": [{}, {"client": [DEFAULT_SCOPE]}]} if by_inlet else {}),
        "parameters": [
            *(_in_path(name, area) for name in _PARAMETER.findall(route.pattern)),
            *({"$ref": f"#/components/parameters/{name}"} for name in _headers(route, by_inlet)),
            *(
                {"name": name, "in": "header", "description": said, "schema": {"type": "string"}}
                for name, said in operation.headers.items()
            ),
            *(_in_query(parameter, schemas) for parameter in operation.query),
        ],
    }
    if operation.body is not None:
        made["requestBody"] = _body(route, operation, schemas)
    answers = {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()}
    made["responses"] = answers | _errors(route, operation, by_inlet)
    return made


def _headers(route: Route[Any], by_inlet: bool) -> tuple[str, ...]:
    if by_inlet:
        return ("RequestId",)
    return ("Organisation", "SandboxToRead" if route.reads else "Sandbox", "SandboxId", "RequestId")


def _in_path(name: str, area: Area) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": area.path[name],
        "schema": {"type": "string"},
    }


def _in_query(parameter: Parameter, schemas: Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        **({"required": True} if parameter.required else {}),
        "description": parameter.text,
        **({MARK: True} if parameter.ours else {}),
        "schema": schemas.of(parameter.type),
    }


def _body(route: Route[Any], operation: Operation, schemas: Schemas) -> dict[str, Any]:
    kinds = operation.body if isinstance(operation.body, dict) else dict.fromkeys(route.accepts, operation.body)
    if set(kinds) != set(route.accepts):
        raise ValueError(f"{route.method} {route.pattern} reads {route.accepts}")
    content = {media: {} if kind is bytes else {"schema": schemas.of(kind)} for media, kind in kinds.items()}
    return {"required": operation.body_required, "content": content}


def _answer(answer: Answer, schemas: Schemas) -> dict[str, Any]:
    headers = {name: {"description": said, "schema": {"type": "string"}} for name, said in answer.headers.items()}
    made: dict[str, Any] = {"description": answer.text, "headers": headers | _REQUEST_ID}
    if answer.type is not None:
        others: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in answer.also}
        made["content"] = {JSON: {"schema": schemas.of(answer.type)}, **others}
    return made


def _errors(route: Route[Any], operation: Operation, by_inlet: bool) -> dict[str, Any]:
    statuses = {*problems.COMMON, *operation.fails}
    if not route.reads:
        statuses.update(problems.OF_WRITES)
    if route.method in _WITH_BODY:
        statuses.update(problems.OF_BODIES)
    return {str(status): {"$ref": _problem(status, route.pattern, by_inlet)} for status in sorted(statuses)}


def _problem(status: int, pattern: str, by_inlet: bool) -> str:
    if by_inlet and status in problems.OF_INLETS:
        return _RESPONSES + problems.OF_INLETS[status][0]
    kind = "Entity" if pattern.startswith(entities.PATH) else ""
    return f"{_RESPONSES}{kind}{problems.ANSWERS[status][0]}"


def _problems(schemas: Schemas, used: set[str]) -> dict[str, Any]:
    answers = {
        name: (meaning, problems.shapes(status, of_entities=False))
        for status, (name, meaning, _) in problems.ANSWERS.items()
    }
    answers |= {
        f"Entity{name}": (meaning, problems.shapes(status, of_entities=True))
        for status, (name, meaning, _) in problems.ANSWERS.items()
    }
    answers |= {name: (meaning, shape) for name, meaning, shape in problems.OF_INLETS.values()}
    return {
        name: {
            "description": meaning,
            "headers": dict(_REQUEST_ID),
            "content": {JSON: {"schema": schemas.of(shape)}},
        }
        for name, (meaning, shape) in answers.items()
        if _RESPONSES + name in used
    }


def _version() -> str:
    version: str = tomllib.loads(_PROJECT.read_text())["project"]["version"]
    return version
