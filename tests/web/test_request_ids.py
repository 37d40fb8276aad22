"""The id of a request: in its response, and in every line that is logged for it, also by its run."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.web.service import Service
from tests.conftest import Serve
from tests.servers import KINDS
from tests.support import INGEST, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits
from tests.web.wire import wire

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"X-Request-ID": "req-1", "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
IDS = ("req-1", TRACE_ID, SPAN_ID)
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
PREFLIGHT = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
ONE_SLOT = {"max_concurrent_runs": 1}


def ids_of(line: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(line.get(name) for name in ("request_id", "trace_id", "span_id"))


def named(lines: list[dict[str, Any]], *messages: str) -> list[tuple[str | None, ...]]:
    """Return the ids in the lines of these messages."""
    return [ids_of(line) for line in lines if line["message"] in messages]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/health", None, {}, 200),
        ("HEAD", "/health", None, {}, 200),
        ("GET", "/", None, {}, 200),
        ("POST", "/invoke", b"{}", {}, 200),
        ("POST", "/invoke", b"{", {}, 400),
        ("POST", "/invoke/stream", b"{}", {}, 200),
        ("POST", "/invoke/stream", b"{}", {"Accept": "application/x-ndjson"}, 200),
        ("POST", "/runs", b"{}", {"Expect": "100-continue"}, 202),
        ("GET", "/nowhere", None, {}, 404),
        ("PUT", "/health", None, {}, 405),
        ("POST", "/invoke/", b"{}", {}, 308),
        ("OPTIONS", "/invoke", None, {}, 204),
        ("OPTIONS", "/invoke", None, PREFLIGHT, 200),
        ("GET", "/runs/none/events", None, {}, 404),
    ],
)
async def test_every_response_has_the_id_of_its_request(
    serve: Serve, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    served = await serve()
    sent = {"Content-Type": "application/json"} | headers | SENT
    async with served.client.request(
        method, path, data=body, headers=sent, allow_redirects=False
    ) as response:
        assert response.status == status
        assert response.headers.getall("X-Request-ID") == ["req-1"]


async def test_the_response_to_a_websocket_handshake_has_the_id(serve: Serve) -> None:
    served = await serve(expose={"streaming": "websocket"})
    for headers, status in ((HANDSHAKE, "101"), ({}, "400")):
        async with wire(served) as connection:
            await connection.ask("GET", "/invoke/ws", headers | SENT)
            line, received = await connection.head()
        assert line.split()[1] == status
        assert received["x-request-id"] == "req-1"


async def test_refused_callers_get_the_id(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(**mode.sections(tmp_path))
        async with served.client.get("/runs", headers=SENT) as response:
            assert response.status == 401
            assert response.headers["X-Request-ID"] == "req-1"


@pytest.mark.parametrize("sent", [[], [""], ["a b"], ['a"'], ["é"], ["x" * 129], ["a", "b"], ["a, b"]])
async def test_a_request_without_a_sane_id_gets_a_new_one(serve: Serve, sent: list[str]) -> None:
    served = await serve()
    async with wire(served) as connection:
        new = set()
        for _ in range(2):
            fields = "".join(f"X-Request-ID: {each}\r\n" for each in sent)
            await connection.send(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
            _, received = await connection.head()
            await connection.until(b"}")
            new.add(received["x-request-id"])
    assert [len(each) for each in new] == [32, 32]


@pytest.mark.parametrize("sane", ["x" * 128, "Root=1-67891233-abcdef01", "a_b.c:d/e+f@g=="])
async def test_the_ids_of_common_proxies_are_sane(serve: Serve, sane: str) -> None:
    served = await serve()
    async with served.client.get("/health", headers={"X-Request-ID": sane}) as response:
        assert response.headers["X-Request-ID"] == sane


async def test_the_response_to_malformed_http_has_a_new_id(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as connection:
        await connection.ask("GET", "/health", SENT)
        await connection.head()
        await connection.until(b"}")
        await connection.send(b"no HTTP\r\n\r\n")
        line, received = await connection.head()
    assert line.split()[1] == "400"
    assert len(received["x-request-id"]) == 32


async def test_a_malformed_position_in_a_trace_is_ignored(serve: Serve, lines: list[dict[str, Any]]) -> None:
    served, position = await serve(), f"{TRACE_ID}-{SPAN_ID}-01"
    ignored: list[list[str]] = [[f"00-{position}-more"], [f"ff-{position}"], [f"00-{position}"] * 2]
    heeded: list[list[str]] = [[f"00-{position}"], [f"01-{position}"], [f"01-{position}-more"]]
    async with wire(served) as connection:
        for sent in (*ignored, *heeded):
            fields = "".join(f"traceparent: {each}\r\n" for each in sent)
            await connection.send(f"GET /health HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
            await connection.head()
            await connection.until(b"}")
    await wait_until(lambda: len(named(lines, "request")) == len(ignored + heeded))
    found = [trace_id for _, trace_id, _ in named(lines, "request")]
    assert found == [None] * len(ignored) + [TRACE_ID] * len(heeded)


async def logs_everywhere(_payload: Any) -> None:
    log = logging.getLogger("agent").info
    log("in the agent")
    await asyncio.to_thread(log, "in a thread")
    await asyncio.create_task(asyncio.to_thread(log, "in the thread of a task"))


def logs_in_a_thread(_payload: Any) -> None:
    logging.getLogger("agent").info("in a sync handler")


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize("path", ["/runs", "/invoke", "/invoke/stream"])
async def test_every_line_of_a_request_and_of_its_run_has_the_ids(
    serve: Serve, lines: list[dict[str, Any]], path: str
) -> None:
    served = await serve(logs_everywhere)
    for agent in (logs_everywhere, logs_in_a_thread):
        served.use(agent)
        async with served.client.post(path, json={}, headers=SENT) as response:
            assert response.status < 300
            await response.read()
    await wait_until(lambda: len(named(lines, "request")) == 2)
    if path != "/invoke":
        await wait_until(lambda: len(named(lines, "run completed")) == 2)
    messages = ["request", "in the agent", "in a thread", "in the thread of a task", "in a sync handler"]
    if path != "/invoke":
        messages += ["run accepted", "run running", "run completed"]
    for message in messages:
        assert set(named(lines, message)) == {IDS}, message
    async with served.client.get("/health") as response:
        assert named(lines, "request")[-1] == (response.headers["X-Request-ID"], None, None)


async def test_the_agent_can_read_the_id(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> str | None:
        return context.request.request_id

    served = await serve(agent)
    async with served.client.post("/invoke", json={}, headers=SENT) as response:
        assert (await response.json())["output"] == "req-1"


async def test_the_line_of_an_internal_error_has_the_id_that_the_caller_got(
    serve: Serve, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_service: Service) -> str:
        raise LookupError

    monkeypatch.setattr(Service, "new_run_id", fail)
    served = await serve()
    async with served.client.post("/runs", json={}) as response:
        assert response.status == 500
    (ids,) = named(lines, "internal error")
    assert ids[0] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("every_backend", [KINDS[0]], indirect=True)
@pytest.mark.usefixtures("every_backend")
async def test_the_replica_that_takes_a_run_from_the_queue_logs_the_ids(
    serve: Serve, lines: list[dict[str, Any]]
) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    async with busy.client.post("/runs", json={}, headers=SENT) as response:
        run_id = (await response.json())["run_id"]
    lines.clear()
    await serve(logs_everywhere, streaming=ONE_SLOT)
    await busy.finished(run_id)
    await wait_until(lambda: named(lines, "run completed"))
    for message in ("run running", "in the agent", "in a thread", "run completed"):
        assert named(lines, message) == [IDS]
    assert not any(ids_of(line)[0] == "req-1" for line in lines if line.get("run_id") != run_id)
    waiting.go.set()


async def test_a_run_whose_events_are_pushed_logs_the_ids(serve: Serve, lines: list[dict[str, Any]]) -> None:
    served = await serve(streaming={"ingest": INGEST})
    async with served.client.post("/runs?external=true&run_id=r", headers=SENT) as response:
        assert response.status == 202
    async with served.client.delete("/runs/r"):
        pass
    assert named(lines, "run accepted", "run running", "run cancelled") == [IDS] * 3
