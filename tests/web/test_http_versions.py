"""HTTP/1.0 clients, and the Expect header."""

import pytest

from tests.conftest import Serve
from tests.web.wire import wire


@pytest.mark.parametrize("connection", [{}, {"Connection": "keep-alive"}])
async def test_http_1_0_stream_ends_with_the_connection(serve: Serve, connection: dict[str, str]) -> None:
    served = await serve()
    async with wire(served) as client:
        await client.ask("POST", "/invoke/stream", connection, b"{}", version="1.0")
        raw = await client.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"keep-alive" not in head.lower()
    assert body.startswith(b"retry: 2000\nid: 1\n")
    assert b"event: complete\n" in body


async def test_unknown_expectation_is_ignored(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/invoke", json={"a": 1}, headers={"Expect": "something"}) as response:
        assert response.status == 200


async def test_expect_100_continue_is_answered(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as client:
        head = {"Expect": "100-continue", "Content-Type": "application/json", "Content-Length": "2"}
        await client.ask("POST", "/invoke", head)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"{}")
        status, _ = await client.head()
    assert status == "HTTP/1.1 200 OK"
