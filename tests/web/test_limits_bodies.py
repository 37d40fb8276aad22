"""Limits of a body: size, depth, and arrival time."""

import asyncio
from io import BytesIO
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.web.payloads import decode_json
from tests.conftest import Serve
from tests.support import INGEST, PUSH_TOKEN, Served
from tests.web.helpers import error_of
from tests.web.wire import Wire, wire

PATHS = ["/invoke", "/invoke/stream", "/runs"]
PUSH = "/runs/r/events"
JSON, LINES = "application/json", "application/x-ndjson"
EVERYWHERE = [*((path, JSON) for path in PATHS), (PUSH, JSON), (PUSH, LINES)]
EVENT = b'{"type":"checkpoint","name":"n","data":%s}'
ACCEPTED = (200, 202)


async def limited(serve: Serve, **limits: int) -> Served:
    served = await serve(streaming={"ingest": INGEST}, limits=limits)
    await served.start(run_id="r", external="true")
    return served


async def post(served: Served, path: str, body: bytes, content_type: str = JSON) -> aiohttp.ClientResponse:
    headers = {"Content-Type": content_type}
    return await served.client.post(path, data=BytesIO(body), headers=headers)


def padded(path: str, size: int) -> bytes:
    body = EVENT % b"1" if path == PUSH else b"{}"
    return body + b" " * (size - len(body))


def nested(path: str, depth: int) -> bytes:
    if path == PUSH:
        return EVENT % nested("", depth - 1)
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(("path", "content_type"), EVERYWHERE)
async def test_body_size_is_limited_exactly(serve: Serve, path: str, content_type: str) -> None:
    served = await limited(serve, max_body_bytes=100)
    for size in (99, 100):
        async with await post(served, path, padded(path, size), content_type) as response:
            assert response.status in ACCEPTED, await response.text()
            await response.read()
    async with await post(served, path, padded(path, 101), content_type) as response:
        body = await error_of(response, 413, "PAYLOAD_TOO_LARGE")
    assert "100 bytes" in body["error"]


@pytest.mark.parametrize(("path", "content_type"), EVERYWHERE)
async def test_body_depth_is_limited_exactly(serve: Serve, path: str, content_type: str) -> None:
    served = await limited(serve, max_json_depth=9)
    for depth in (8, 9):
        async with await post(served, path, nested(path, depth), content_type) as response:
            assert response.status in ACCEPTED, await response.text()
            await response.read()
    for depth in (10, 500, 100_000):
        async with await post(served, path, nested(path, depth), content_type) as response:
            body = await error_of(response, 400, "VALIDATION_ERROR")
        assert "nested more than 9 deep" in str(body)


async def test_adjacent_brackets_are_not_depth(serve: Serve) -> None:
    served = await limited(serve, max_json_depth=2)
    body = b"[" + b",".join([b'{"[[[[": "{{{{"}'] * 100) + b"]"
    async with await post(served, "/invoke", body) as response:
        assert response.status == 200


VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"', max_size=2), inner, max_size=3)
    ),
)


def depth_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(value=VALUES)
def test_depth_counts_arrays_and_objects(value: Any) -> None:
    depth = depth_of(value)
    encoded = msgspec.json.encode(value)
    assert decode_json(encoded, depth) == value
    if depth:
        with pytest.raises(ValueError, match="nested more than"):
            decode_json(encoded, depth - 1)


@pytest.mark.parametrize("trickled", [False, True], ids=["silent", "trickled"])
async def test_slow_body_is_refused_on_every_path(serve: Serve, *, trickled: bool) -> None:
    served = await limited(serve, body_timeout=1)
    responses = await asyncio.gather(
        *(_slow(served, path, content_type, trickled=trickled) for path, content_type in EVERYWHERE)
    )
    for status, body in responses:
        assert " 400 " in status
        assert body["code"] == "VALIDATION_ERROR"
        assert "within 1 s" in body["error"]


async def _slow(served: Served, path: str, content_type: str, *, trickled: bool) -> tuple[str, Any]:
    async with wire(served) as connection:
        headers = {
            "Authorization": f"Bearer {PUSH_TOKEN}",
            "Content-Type": content_type,
            "Content-Length": "100000",
        }
        await connection.ask("POST", path, headers)
        await connection.send(b"[")
        answered = asyncio.create_task(connection.head())
        await (_trickle(connection, answered) if trickled else asyncio.wait((answered,)))
        status, response = await answered
        return status, msgspec.json.decode(await connection.content(response))


async def _trickle(connection: Wire, answered: asyncio.Task[Any]) -> None:
    while not answered.done():
        await connection.send(b" ")
        await asyncio.wait((answered,), timeout=0.02)
