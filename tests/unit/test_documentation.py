"""The documents say what the code does."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import api
from tessera.gateway import ApiFunction

ROOT = Path(__file__).resolve().parents[2]
ALIASES = {
    "GET /data/foundation/catalog/batch/{batch}",
    # Refusals that say what to do instead.
    "PATCH /data/core/ca/attributes",
    "PATCH /data/foundation/import/batches",
}


def routes() -> set[str]:
    """Every route of every API function."""
    endpoints = [
        importlib.import_module(f"api.{module.name}").__dict__.get("endpoint")
        for module in pkgutil.iter_modules(api.__path__)
    ]
    return {
        f"{route.method} {route.pattern}"
        for endpoint in endpoints
        if isinstance(endpoint, ApiFunction)
        for route in endpoint.routes
    }


def test_every_route_is_in_the_api_reference_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    documented = {
        re.sub(r"\?.*", "", call) for call in re.findall(r"`((?:GET|HEAD|POST|PUT|PATCH|DELETE) /[^`]*)`", text)
    }
    assert documented == {_named(route) for route in routes() - ALIASES}


def _named(route: str) -> str:
    return route.replace("{dataset_id}", "{id}")


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    file = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", file.read_text()):
        assert (file.parent / target).exists(), f"{document} links to {target}"


def test_the_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        used = set(re.findall(r"`make ([a-z]+)", file.read_text())) | set(
            re.findall(r"^make ([a-z]+)", file.read_text(), re.MULTILINE)
        )
        assert used <= targets, f"{file.name}: {used - targets}"
