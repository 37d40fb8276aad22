"""Requests to agent processes, and the use of connections."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dockrion import ids
from dockrion.caller import CallerRequest
from dockrion.runs.agent import Call
from tests.agents.harness import bench
from tests.agents.processes import (
    EVENTS_URL,
    JSON,
    NDJSON,
    SSE,
    ReceivedRequest,
    Wire,
    process,
    remote,
    run_against,
    served,
    start_with_events_url,
)
from tests.support import wait_until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def echo(request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole(JSON, request.body)


async def test_payload_is_posted_with_headers_that_name_the_run() -> None:
    async with served(echo) as (runs, made):
        run_id = await start_with_events_url(runs, {"a": ["é", None]})
        assert (await runs.ended(run_id)).output == {"a": ["é", None]}
    (request,) = made.requests
    assert (request.method, request.path, request.json) == ("POST", "/run", {"a": ["é", None]})
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-dockrion-run-id"] == run_id
    assert request.headers["x-dockrion-agent"] == "tested"
    assert request.headers["x-dockrion-events-url"] == EVENTS_URL
    assert request.headers["accept-encoding"] == "identity"
    for content_type in (JSON, SSE, NDJSON):
        assert content_type in request.headers["accept"]
    assert "traceparent" not in request.headers


async def test_the_process_is_told_which_attempt_of_the_run_it_gets() -> None:
    async with served(echo) as (runs, made):
        for call in (Call(None), Call(None, attempt=3, previous="worker_lost")):
            await runs.ended((await runs.runs.start(call, ids.uuid7())).run_id)
        await runs.invoke()
    attempts = [request.headers["x-dockrion-attempt"] for request in made.requests]
    assert attempts == ["1", "3", "1"]


async def test_trace_context_is_forwarded() -> None:
    async with served(echo) as (runs, made):
        call = Call(None, request=CallerRequest(TRACE))
        await runs.ended((await runs.runs.start(call, ids.uuid7())).run_id)
    assert made.requests[0].headers["traceparent"] == TRACE


async def test_the_id_of_the_request_is_sent_once_whatever_is_forwarded() -> None:
    async with served(echo) as (runs, made):
        forwarded = CallerRequest.with_headers({"x-request-id": "not sane", "X-A": "a"}).headers
        call = Call(None, request=CallerRequest(None, forwarded, "req-1"))
        await runs.ended((await runs.runs.start(call, ids.uuid7())).run_id)
    (request,) = made.requests
    assert request.headers["x-request-id"] == "req-1"
    assert request.headers["x-a"] == "a"


async def test_invocation_has_no_events_url() -> None:
    async with served(echo) as (runs, made):
        assert await runs.invoke({"a": 1}) == {"a": 1}
    assert "x-dockrion-events-url" not in made.requests[0].headers
    assert made.requests[0].headers["x-dockrion-run-id"]


async def test_unix_socket_url_has_a_path(tmp_path: Path) -> None:
    async with (
        process(echo, uds=tmp_path / "a.sock") as made,
        remote(f"unix:{tmp_path}/a.sock:/deep/path") as agent,
        bench(agent) as runs,
    ):
        await agent.check()
        assert (await runs.run([1])).output == [1]
        assert (await runs.run([2])).output == [2]
    assert {request.path for request in made.requests} == {"/deep/path"}
    assert made.requests[0].headers["host"] == "localhost"


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
async def test_large_payload_arrives_whole(size: int) -> None:
    async with served(echo) as (runs, made):
        assert (await runs.run("x" * size)).output == "x" * size
    assert len(made.requests[0].body) == size + 2


async def as_events(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.chunked(SSE)
    await wire.chunk(b'event: token\ndata: {"content":"a"}\n\n')
    await wire.chunk(b'event: complete\ndata: {"output":1}\n\n')
    await wire.chunk()


async def refused(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole("text/plain", b"busy", "503 Busy")


@pytest.mark.parametrize("answer", [echo, as_events, refused], ids=["json", "events", "refusal"])
async def test_connection_is_reused(answer: Any) -> None:
    async with served(answer) as (runs, made):
        for number in range(5):
            await runs.run(number)
        assert made.connections == 1
    assert made.posts == 5


async def test_concurrent_runs_use_separate_connections() -> None:
    together = asyncio.Barrier(30)

    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        await together.wait()
        await wire.whole(JSON, request.body)

    async with served(answer) as (runs, made):
        ended = await asyncio.gather(*map(runs.run, range(30)))
        assert [each.output for each in ended] == list(range(30))
        assert made.connections == 30


async def test_unsolicited_response_is_not_another_run_s() -> None:
    twice = asyncio.Event()

    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole(JSON, request.body)
        await twice.wait()
        await wire.whole(JSON, b'"of the run before"')

    async with served(answer) as (runs, made):
        assert (await runs.run("first")).output == "first"
        connection = next(iter(runs_pool(runs)))
        twice.set()
        await wait_until(lambda: connection._buffer or not connection.is_connected())
        assert (await runs.run("second")).output == "second"
        assert made.posts == 2


def runs_pool(runs: Any) -> list[Any]:
    """Return the idle connections of a manager's agent."""
    pool = runs.runs.agent._server.endpoint._session.connector._conns
    return [connection for idle in pool.values() for connection, _ in idle]


async def test_cookies_are_not_sent_back() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1\r\n\r\n1"
        )

    async with served(answer) as (runs, made):
        for _ in range(2):
            assert (await runs.run()).output == 1
    assert all("cookie" not in request.headers for request in made.requests)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_not_followed(status: str) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 {status}\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".encode())

    ended = await run_against(answer)
    assert ended.terminal["details"]["status"] == int(status[:3])


async def test_restarted_process_gets_one_request_on_a_new_connection() -> None:
    async with process(echo) as made, remote(made.url) as agent, bench(agent) as runs:
        assert (await runs.run(1)).output == 1
        port = int(made.url.removesuffix("/run").rpartition(":")[2])
        await made.close()
        await wait_until(lambda: not any(each.is_connected() for each in runs_pool(runs)))
        gone = await runs.run(2)
        assert gone.code == "AGENT_DISCONNECTED"
        async with process(echo, port=port) as again:
            assert (await runs.run(3)).output == 3
            assert again.posts == 1
        assert made.posts == 1


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_request_on_a_stale_connection_is_not_retried(end: str) -> None:
    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        if request.json == "first":
            await wire.whole(JSON, b"1")
        else:
            getattr(wire, end)()

    async with served(answer) as (runs, made):
        assert (await runs.run("first")).output == 1
        assert (await runs.run("second")).code == "AGENT_DISCONNECTED"
        assert made.connections == 1
        assert made.posts == 2


async def test_early_error_status_is_reported() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, remote(f"http://127.0.0.1:{port}/") as agent, bench(agent) as runs:
        ended = await runs.run("x" * 900_000)
    assert ended.code in ("AGENT_EXECUTION_ERROR", "AGENT_DISCONNECTED")
    assert "413" in ended.error or "closed" in ended.error
