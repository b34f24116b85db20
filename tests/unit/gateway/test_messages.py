"""Requests as handlers see them, and answers within what a function can return."""

from __future__ import annotations

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from tessera.domain.errors import InvalidRequestError
from tessera.domain.tenant import Tenant
from tessera.gateway import (
    MAX_ANSWER_BYTES,
    MalformedJsonError,
    Query,
    Request,
    Response,
    ResponseTooLargeError,
    Sandbox,
    fits,
    share_of_answer,
)


def request(body: bytes) -> Request:
    return Request(
        method="POST",
        route="/x",
        tenant=Tenant("A@AdobeOrg", "prod"),
        sandbox=Sandbox("1", "prod", "production"),
        caller="client",
        path_parameters={},
        query=Query(None),
        headers={},
        raw_body=body,
        request_id="r",
    )


class TestQuery:
    def test_the_first_of_repeated_values_wins_and_all_can_be_had(self) -> None:
        query = Query({"limit": ["20", "100"], "property": ["a=1", "b=2"]})
        assert query.integer("limit", 10) == 20
        assert query.every("property") == ["a=1", "b=2"]

    def test_names_are_found_in_any_case(self) -> None:
        query = Query({"entityIdNs": ["email"], "orderBy": ["-timestamp"]})
        assert query.get("entityIdNS") == "email"
        assert query.get("orderby") == "-timestamp"
        assert "ENTITYIDNS" in query

    def test_blank_is_not_absent(self) -> None:
        query = Query({"fields": [""]})
        assert query.get("fields") == ""
        assert query.get("other") is None
        assert query.listed("fields") == []
        assert query.integer("fields", 7) == 7

    def test_lists_lose_blanks(self) -> None:
        assert Query({"a": ["x, y,,z"]}).listed("a") == ["x", "y", "z"]

    @pytest.mark.parametrize("text", ["1.5", "1e3", "0x10", "١", "--1", "-", "+1", "1" * 19, "None"])  # noqa: RUF001
    def test_what_is_no_whole_number_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidRequestError):
            Query({"limit": [text]}).integer("limit", 1)

    def test_bounds_refuse_or_clamp(self) -> None:
        query = Query({"limit": ["500"], "start": ["-1"]})
        with pytest.raises(InvalidRequestError, match="between 1 and 100"):
            query.integer("limit", 1, minimum=1, maximum=100)
        assert query.integer("limit", 1, maximum=100, clamp=True) == 100
        with pytest.raises(InvalidRequestError, match="at least 0"):
            query.integer("start", 0)

    @pytest.mark.parametrize("parameters", [{"a": ["\ud800"]}, {"\udfff": ["x"]}, {"a": ["x", "y\udc00"]}])
    def test_halves_of_characters_are_refused(self, parameters: dict[str, list[str]]) -> None:
        with pytest.raises(InvalidRequestError, match="Unicode"):
            Query(parameters)
        assert Query({"a": ["\U0001f4a5"]}).get("a") == "\U0001f4a5"

    def test_flags(self) -> None:
        query = Query({"a": ["TRUE"], "b": ["false"], "c": ["yes"]})
        assert query.flag("a") is True
        assert query.flag("b", default=True) is False
        assert query.flag("missing", default=True) is True
        with pytest.raises(InvalidRequestError):
            query.flag("c")


class TestJson:
    @pytest.mark.parametrize(
        "body", [b"", b"{", b"{'a': 1}", b'{"a": NaN}', b"[Infinity]", b"\xff", b'"\\ud800"', b"[" * 5000]
    )
    def test_what_is_no_json_is_refused(self, body: bytes) -> None:
        with pytest.raises(MalformedJsonError) as caught:
            request(body).json()
        assert caught.value.status == 400
        assert caught.value.code == "UPLIB-101206-500"

    @pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
    def test_nesting_is_bounded(self, opening: bytes, closing: bytes) -> None:
        inside = b"1" if closing == b"}" else b""
        assert request(opening * 100 + inside + closing * 100).json()
        with pytest.raises(MalformedJsonError) as caught:
            request(opening * 101 + inside + closing * 101).json()
        assert "nested" in caught.value.detail

    def test_brackets_in_texts_and_beside_each_other_do_not_nest(self) -> None:
        for value in ("[" * 500, [[]] * 500, {"a": "{" * 500}):
            assert request(orjson.dumps(value)).json() == value

    def test_parsing_a_model_says_where_it_does_not_fit(self) -> None:
        class Widget(BaseModel):
            size: int

        assert request(b'{"size": 3}').parse(Widget).size == 3
        with pytest.raises(ValidationError):
            request(b"[]").parse(Widget)


class TestResponse:
    def test_json_is_sent_as_text(self) -> None:
        proxy = Response({"a": "ü"}, 201, {"Location": "/x"}).to_proxy("r")
        assert proxy == {
            "statusCode": 201,
            "headers": {"content-type": "application/json", "x-request-id": "r", "Location": "/x"},
            "body": '{"a":"ü"}',
            "isBase64Encoded": False,
        }

    def test_bytes_are_sent_as_they_are(self) -> None:
        assert Response(b'{"a":1}').to_proxy("r")["body"] == '{"a":1}'
        binary = Response(b"\xff\x00", content_type="application/octet-stream").to_proxy("r")
        assert (binary["body"], binary["isBase64Encoded"]) == ("/wA=", True)
        assert Response(None).to_proxy("r")["body"] == ""

    def test_an_answer_that_cannot_be_returned_is_refused(self) -> None:
        assert Response(b"x" * MAX_ANSWER_BYTES).to_proxy("r")["statusCode"] == 200
        for body in (b"x" * (MAX_ANSWER_BYTES + 1), b'"' * 3_500_000, b"\xff" * 4_500_000):
            with pytest.raises(ResponseTooLargeError) as caught:
                Response(body).to_proxy("r")
            assert caught.value.status == 422

    def test_quotes_count_twice_since_the_answer_travels_within_json(self) -> None:
        assert fits(b"x" * 3_500_000)
        assert not fits(b'"' * 3_500_000)

    def test_pieces_whose_shares_fit_together_fit(self) -> None:
        for piece in (b"x" * 1000, b'"' * 1000, b'"aa"' * 250, b"\\" * 999 + b"x"):
            count = MAX_ANSWER_BYTES // share_of_answer(piece)
            assert fits(piece * count)
            assert not fits(piece * (count + count // 100))
