"""What an OpenAPI document of ours does otherwise than what is published, difference by difference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.published.facts import Facts, facts, resolved

_JSON = "application/json"
_ERROR = 400
Published = Mapping[str, Any]


class Comparison:
    """Compares the published facts with a document; a difference is ``METHOD path: what is otherwise``."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._ours = {
            (method, _unnamed(path)): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def differences(self, published: Published, base_path: str) -> Iterator[str]:
        """Find all differences of the published operations, and our unmarked ones under their base path."""
        theirs = {
            (method, _unnamed(path)): (path, operation)
            for path, methods in published.items()
            for method, operation in methods.items()
        }
        for key, (path, operation) in theirs.items():
            call = f"{key[0].upper()} {path}"
            ours = self._ours.get(key)
            if ours is None:
                yield f"{call}: not there"
            elif not ours.get("x-tessera"):
                yield from (f"{call}: {what}" for what in self._operation(operation, ours))
            else:
                yield f"{call}: does something else"
        for method, path in sorted(self._ours.keys() - theirs.keys()):
            if path.startswith(base_path) and not self._ours[method, path].get("x-tessera"):
                yield f"{method.upper()} {path}: not published"

    def _operation(self, theirs: Published, ours: Mapping[str, Any]) -> Iterator[str]:
        parameters = [resolved(one, self._document) for one in ours["parameters"]]
        headers = {one["name"]: one for one in parameters if one["in"] == "header"}
        for scheme in self._document["components"]["securitySchemes"].values():
            if scheme["type"] == "apiKey":
                headers[scheme["name"]] = {"required": True, "schema": {"type": "string"}}
        for name, required in map(_named, theirs.get("headers", {})):
            if required and not headers.get(name, {}).get("required"):
                yield f"header {name} may be left out"
        yield from self._query(theirs.get("query", {}), [one for one in parameters if one["in"] == "query"])
        yield from self._bodies(theirs.get("body", {}), ours.get("requestBody", {}).get("content", {}))
        yield from self._answers(theirs["answers"], ours["responses"])

    def _query(self, theirs: Published, ours: list[Mapping[str, Any]]) -> Iterator[str]:
        # Names are read in any case.
        known = {one["name"].lower(): one for one in ours}
        published = {}
        for marked, kind in theirs.items():
            name, required = _named(marked)
            published[name.lower()] = required
            if name.lower() not in known:
                yield f"query {name} is not read"
                continue
            here = known[name.lower()]
            found = facts(here["schema"], self._document)
            # One that may be repeated is sent as any other.
            yield from _narrower(f"query {name}", found, "*" if "array" in found.types[""] else "", kind)
            if required and not here.get("required"):
                yield f"query {name} may be left out"
        for name, here in known.items():
            if not here.get("x-tessera") and name not in published:
                yield f"query {here['name']} is added"
            if here.get("required") and not published.get(name):
                yield f"query {here['name']} is required"

    def _bodies(self, theirs: Published, ours: Mapping[str, Any]) -> Iterator[str]:
        for media in ours.keys() - theirs.keys():
            yield f"body {media} is added"
        for media, fields in theirs.items():
            body = "body" if media == _JSON else f"body {media}"
            if media in ours:
                found = facts(ours[media].get("schema", {}), self._document)
                yield from (f"{body} {what}" for what in _body(dict(map(_named, fields)), fields, found))
            else:
                yield f"{body} is not read"

    def _answers(self, theirs: Published, ours: Mapping[str, Any]) -> Iterator[str]:
        for status in sorted(ours.keys() - theirs.keys()):
            if int(status) < _ERROR:
                yield f"answer {status} is added"
        for status, fields in theirs.items():
            if status not in ours:
                yield f"answer {status} is not given"
                continue
            content = resolved(ours[status], self._document).get("content", {})
            if not fields:
                if content and int(status) < _ERROR:
                    yield f"answer {status} has a body"
                continue
            if not content:
                yield f"answer {status} has no body"
                continue
            yield from (f"answer {status} {what}" for what in self._answer(fields, content[_JSON]["schema"]))

    def _answer(self, theirs: Published, schema: Mapping[str, Any]) -> Iterator[str]:
        found = facts(schema, self._document)
        missing = set()
        for marked, kind in theirs.items():
            name, required = _named(marked)
            here = found.find(name)
            if here is None:
                missing.add(name)
                continue
            types = frozenset({"string"}) if isinstance(kind, list) else frozenset({kind})
            if not found.types[here] <= types:
                yield f"{name} is {_listed(found.types[here])} and not {_listed(types)}"
            elif isinstance(kind, list) and here not in found.values:
                yield f"{name} may be anything"
            elif isinstance(kind, list) and found.values[here] - set(kind):
                yield f"{name} may be {_listed(found.values[here] - set(kind))}"
            if required and here not in found.required:
                yield f"{name} may be absent"
        yield from (f"{name} is missing" for name in _highest(missing))
        published = dict(map(_named, theirs))
        # Of an object that they say nothing of, anything may be said.
        vague = {
            one
            for one in published
            if theirs.get(one) == "object" and not any(_is_below(two, one) for two in published)
        }
        added = {
            name
            for name in found.types.keys() - published.keys()
            if name not in found.ours and not _within(name, found.ours | vague)
        }
        yield from (f"{name} is added" for name in _highest(added))


def _body(published: Mapping[str, bool], fields: Published, found: Facts) -> Iterator[str]:
    missing = set()
    for marked, kind in fields.items():
        name, required = _named(marked)
        here = found.find(name)
        if here is None:
            missing |= set() if found.is_open(name) else {name}
            continue
        yield from _narrower(name or "as a whole", found, here, kind)
        if required and here not in found.required.union(*found.either):
            yield f"{name} may be left out"
    yield from (f"{name} is not read" for name in _highest(missing))
    for names in ({frozenset({name}) for name in found.required} | set(found.either)) if published else ():
        parent = next(iter(names)).rpartition(".")[0]
        if parent in published and not any(published.get(name) for name in names):
            yield f"{' or '.join(sorted(names))} is required"
    added = {
        name
        for name in found.types.keys() - published.keys()
        if name not in found.ours and not _within(name, found.ours)
    }
    yield from (f"{name} is added" for name in _highest(added) if published)


def _narrower(what: str, found: Facts, name: str, kind: Any) -> Iterator[str]:
    """Tell what they let a caller send and we do not."""
    wanted = frozenset({"string"}) if isinstance(kind, list) else frozenset({kind})
    if not wanted <= found.types[name]:
        yield f"{what} is {_listed(found.types[name])} and not {_listed(wanted)}"
    elif name in found.values:
        if not isinstance(kind, list):
            if wanted == {"string"}:
                yield f"{what} is one of {_listed(found.values[name])}"
        elif set(kind) - found.values[name]:
            yield f"{what} may not be {_listed(frozenset(kind) - found.values[name])}"


def _named(marked: str) -> tuple[str, bool]:
    return marked.removesuffix("!"), marked.endswith("!")


def _unnamed(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _highest(names: set[str]) -> list[str]:
    """Leave out what is said already by saying it of a field above."""
    return sorted(name for name in names if not _within(name, names))


def _within(name: str, ancestors: set[str]) -> bool:
    return any(_is_below(name, ancestor) for ancestor in ancestors)


def _is_below(name: str, ancestor: str) -> bool:
    return name != ancestor and (ancestor == "" or name.startswith(ancestor + "."))


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
