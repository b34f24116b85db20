"""Adobe's own client, unchanged, against a function: the requests that it makes go to the handler."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aepp
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.integration.conftest import CLIENT_ID, ORG, Caller, proxy_event


def signed_in(call: Caller, monkeypatch: pytest.MonkeyPatch, handler: Any) -> Mapping[str, Any]:
    """Lead all requests to ``handler``; return what a client is made with."""

    def send(_adapter: HTTPAdapter, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        body = request.body.encode() if isinstance(request.body, str) else None
        query = parse_qs(url.query, keep_blank_values=True)
        headers = {name: str(value) for name, value in request.headers.items()}
        proxy = handler(proxy_event(str(request.method), url.path, query=query, body=body, headers=headers), None)
        answer = requests.Response()
        answer.status_code = proxy["statusCode"]
        answer.headers.update(proxy["headers"])
        answer._content = proxy["body"].encode()
        answer.request, answer.url = request, str(request.url)
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.setitem(aepp.config.endpoints, "global", "https://api.example.com")
    config = {
        "org_id": ORG,
        "client_id": CLIENT_ID,
        "token": call.issuer.token(),
        "date_limit": time.time() + 3000,
        "sandbox": "dev",
        "environment": "prod",
        "scopes": "x",
        "connectionType": "oauthV2",
    }
    header = {**call.headers(), "Content-Type": "application/json", "Accept": "application/json"}
    return {"config": config, "header": header}
