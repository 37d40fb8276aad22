"""Content negotiation: the media type of a stream."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from dockrion.errors import NotAcceptable
from dockrion.web.parameters import preferred_media_type
from tests.conftest import Serve
from tests.web.helpers import error_of

SSE, LINES, JSON = OFFERED = ("text/event-stream", "application/x-ndjson", "application/json")
PREFERRED: dict[tuple[str, ...], str] = {
    (): SSE,
    ("",): SSE,
    ("*/*",): SSE,
    ("text/*",): SSE,
    ("TEXT/Event-Stream; charset=utf-8",): SSE,
    ("application/json",): JSON,
    ("application/x-ndjson",): LINES,
    ("application/*",): LINES,
    ("application/json, text/plain, */*",): SSE,
    ("application/json, */*;q=0.5",): JSON,
    ("application/json;q=0.5, application/x-ndjson;q=0.7",): LINES,
    ("text/event-stream;q=0, */*;q=0.1",): LINES,
    ("application/*;q=0.9, application/x-ndjson;q=0.2, text/*;q=0.3",): JSON,
    ("text/html", "application/json;q=0.1"): JSON,
    (" , ,application/json;Q=1.000,",): JSON,
    ("application/json;q=2, application/x-ndjson;q=0.001",): LINES,
}
NOT_ACCEPTABLE = [
    "text/html",
    "application/json;q=0",
    "*/*;q=0.0",
    "json",
    "application/xml, image/*",
    "*/json",
    ";q=1",
]


def accepting(*accepts: str) -> Any:
    return make_mocked_request("GET", "/", headers=CIMultiDict(("Accept", each) for each in accepts))


@pytest.mark.parametrize("accepts", PREFERRED)
def test_preferred_media_type_is_chosen(accepts: tuple[str, ...]) -> None:
    assert preferred_media_type(accepting(*accepts), OFFERED) == PREFERRED[accepts]


@pytest.mark.parametrize("accept", NOT_ACCEPTABLE)
def test_unacceptable_media_type_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream or application/x-ndjson or application/json"):
        preferred_media_type(accepting(accept), OFFERED)


@settings(max_examples=100)
@given(st.text(st.sampled_from('atexpjson/*;,q=.019 \t"'), max_size=60))
@example("*/*;q=" + "9" * 5000)
def test_any_accept_header_is_matched_or_refused(accept: str) -> None:
    try:
        assert preferred_media_type(accepting(accept), OFFERED) in OFFERED
    except NotAcceptable:
        assert accept.strip()


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/runs/unknown/events", "text/html"),
        ("POST", "/invoke/stream", "text/html"),
        ("POST", "/invoke/stream", "application/json;q=0, image/*"),
    ],
)
async def test_unacceptable_media_type_starts_nothing(
    serve: Serve, method: str, path: str, accept: str
) -> None:
    served = await serve()
    async with served.client.request(method, path, json={}, headers={"Accept": accept}) as response:
        await error_of(response, 406, "NOT_ACCEPTABLE")
    assert not served.backend._logs


async def test_json_as_curl_accepts_it_gets_events(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/invoke/stream", json={}, headers={"Accept": JSON}) as response:
        assert response.content_type == SSE


@pytest.mark.parametrize("media_type", OFFERED)
async def test_response_has_its_content_type_and_vary(serve: Serve, media_type: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    await served.finished("r")
    async with served.client.get("/runs/r/events", headers={"Accept": media_type}) as response:
        assert response.content_type == media_type
        assert "Accept" in response.headers.getall("Vary")
