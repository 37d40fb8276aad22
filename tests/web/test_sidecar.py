"""Sidecar mode, from the callers' side."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import Serve
from tests.support import Served, data
from tests.web.helpers import error_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Work = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def process(work: Work, socket_path: Path | None = None) -> AsyncIterator[str]:
    """Run an agent process, and return its URL; nobody else takes that of a unix socket afterwards."""
    app = web.Application()
    app.router.add_post("/", work)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        if socket_path is None:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        else:
            await web.UnixSite(runner, socket_path).start()
            yield f"unix:{socket_path}:/"
    finally:
        await runner.cleanup()


async def sidecar(serve: Serve, url: str, **sections: Any) -> Served:
    return await serve(agent={"name": "tested", "url": url}, **sections)


async def heard(request: web.Request) -> web.Response:
    """Return the request's headers and its payload."""
    return web.json_response({"headers": dict(request.headers), "payload": await request.json()})


async def test_sidecar_gets_the_run_id_and_the_events_url(serve: Serve) -> None:
    async with process(heard) as url:
        served = await sidecar(serve, url)
        sent = {"traceparent": TRACE, "tracestate": " a=1, b@c=2 ", "X-Request-ID": "req-1"}
        async with served.client.post("/runs", json={"n": 1}, headers=sent) as response:
            run_id = (await response.json())["run_id"]
        output = (await served.finished(run_id))["output"]
        assert output["payload"] == {"n": 1}
        assert output["headers"]["X-Dockrion-Run-Id"] == run_id
        assert output["headers"]["X-Dockrion-Agent"] == "tested"
        assert output["headers"]["traceparent"] == TRACE
        assert output["headers"]["tracestate"] == "a=1,b@c=2"
        assert output["headers"]["X-Request-ID"] == "req-1"
        events_url = output["headers"]["X-Dockrion-Events-Url"]
        async with aiohttp.ClientSession() as session, session.get(events_url) as events:
            assert "event: complete" in await events.text()


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        TRACE.upper(),
        TRACE[:-1],
        f"ff{TRACE[2:]}",
        f"00-{'0' * 32}{TRACE[35:]}",
        f"{TRACE[:36]}{'0' * 16}-01",
    ],
)
async def test_malformed_traceparent_is_not_forwarded(serve: Serve, sent: str) -> None:
    async with process(heard) as url:
        served = await sidecar(serve, url)
        async with served.client.post("/invoke", json={}, headers={"traceparent": sent}) as response:
            headers = (await response.json())["output"]["headers"]
    assert "traceparent" not in {name.lower() for name in headers}


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "A=1",
        "a=1,b",
        "a=\u00e9",
        "a@b@c=1",
        ",".join(f"k{number}=1" for number in range(33)),
        f"a={'1' * 257}",
        ",".join(f"k{number}={'1' * 100}" for number in range(5)),
        " , ",
    ],
)
async def test_malformed_tracestate_is_not_forwarded(serve: Serve, state: str) -> None:
    async with process(heard) as url:
        served = await sidecar(serve, url)
        sent = {"traceparent": TRACE, "tracestate": state}
        async with served.client.post("/invoke", json={}, headers=sent) as response:
            headers = (await response.json())["output"]["headers"]
    assert headers["traceparent"] == TRACE
    assert "tracestate" not in headers


async def test_invoke_has_no_events_url(serve: Serve) -> None:
    async with process(heard) as url:
        served = await sidecar(serve, url)
        async with served.client.post("/invoke", json={}) as response:
            assert "X-Dockrion-Events-Url" not in (await response.json())["output"]["headers"]


async def test_readiness_follows_the_sidecar(serve: Serve, tmp_path: Path) -> None:
    async with process(heard, tmp_path / "socket") as url:
        served = await sidecar(serve, url)
        async with served.client.get("/ready") as response:
            assert response.status == 200
    async with served.client.get("/ready") as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
    async with served.client.get("/health") as response:
        assert response.status == 200


async def test_unreachable_sidecar_is_a_bad_gateway(serve: Serve) -> None:
    with socket.socket() as bound:  # so that nobody else listens there
        bound.bind(("127.0.0.1", 0))
        port = str(bound.getsockname()[1])
        served = await sidecar(serve, f"http://127.0.0.1:{port}/")
        async with served.client.post("/invoke", json={}) as response:
            body = await error_of(response, 502, "AGENT_DISCONNECTED")
    assert port not in body["error"]


async def test_error_of_the_sidecar_keeps_its_code(serve: Serve) -> None:
    async def work(_request: web.Request) -> web.Response:
        text = '{"type": "error", "error": "too long", "code": "CONTEXT_LENGTH", "details": {"max": 9}}\n'
        return web.Response(text=text, content_type="application/x-ndjson")

    async with process(work) as url:
        served = await sidecar(serve, url)
        async with served.client.post("/invoke", json={}) as response:
            body = await error_of(response, 500, "CONTEXT_LENGTH")
    assert (body["error"], body["details"]) == ("too long", {"max": 9})


async def test_sidecar_that_accepts_pushes_its_events(serve: Serve) -> None:
    async def work(request: web.Request) -> web.Response:
        events = [
            {"type": "token", "content": "later"},
            {"type": "complete", "output": {"done": True}},
        ]
        async with aiohttp.ClientSession() as session:
            for number, event in enumerate(events, 1):
                url = f"{request.headers['X-Dockrion-Events-Url']}?producer_seq={number}"
                async with session.post(url, json=event) as response:
                    assert response.status == 200, await response.text()
        return web.Response(status=202)

    streaming = {"ingest": {"enabled": True}}
    async with process(work) as url:
        served = await sidecar(serve, url, streaming=streaming)
        async with served.stream({}) as reader:
            events = [data(message) for message in await reader.all()]
    assert [event["type"] for event in events] == ["started", "token", "complete"]
    assert events[-1]["output"] == {"done": True}


async def test_password_in_the_url_is_shown_nowhere(serve: Serve) -> None:
    served = await serve(agent={"name": "tested", "url": "http://user:pass-w0rd@127.0.0.1:1/"})
    async with served.client.get("/info") as response:
        assert "pass-w0rd" not in await response.text()
    async with served.client.post("/invoke", json={}) as response:
        assert "pass-w0rd" not in await response.text()
