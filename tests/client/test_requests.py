"""Requests, retries, and the exceptions for error responses."""

import asyncio
import inspect
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from dockrion import StreamContext
from dockrion import errors as served_errors
from dockrion.client import (
    AgentTimeout,
    Client,
    ClientError,
    Complete,
    Conflict,
    ConnectionLost,
    Forbidden,
    InputReceived,
    InputRequested,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    ProtocolError,
    ResponseError,
    ServerError,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    WaitingFor,
    errors,
)
from dockrion.client.retry import LONGEST_DELAY_SECONDS, RetrySchedule
from dockrion.client.transport import Request, Transport
from dockrion.errors import DockrionError
from tests.client.conftest import Connect
from tests.client.proxies import GAP, HEAD, error_response, json_response, listening, proxy, scripted
from tests.conftest import Serve
from tests.web.helpers import Waits

INVOKED = json_response('{"success":true,"output":{"a":1},"metadata":{"latency_seconds":0.1}}')
ACCEPTED = json_response(
    '{"run_id":"r","status":"accepted","events_url":null,"created_at":"2026-11-22T10:30:05Z"}', status=202
)
RUN = json_response('{"run_id":"r","status":"running","created_at":"2026-11-22T10:30:05Z"}')
KEY = "a-key-that-is-long-enough"
SOON = "Retry-After: 0\r\n"


async def test_invoke_and_the_records_of_runs(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve())
    answer = await client.invoke({"n": 1})
    assert (answer.output, answer.metadata["agent"]) == ({"n": 1}, "tested")
    await client.start({"n": 2}, "one")
    assert [event.type async for event in client.events("one")][-1] == "complete"
    run = await client.get("one")
    assert (run.status, run.output, run.last_sequence) == ("completed", {"n": 2}, 2)
    assert run.completed_at is not None
    assert (await client.start({"n": 2}, "one")).run_id == "one"
    with pytest.raises(Conflict) as conflict:
        await client.start({}, "one")
    assert conflict.value.details["events_url"] == "/runs/one/events"
    with pytest.raises(InvalidRequest):
        await client.cancel("one")
    with pytest.raises(NotFound):
        await client.get("two")


async def test_all_runs_are_listed_page_by_page(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve())
    made = {(await client.start({})).run_id for _ in range(105)}
    assert {run.run_id async for run in client.runs()} == made
    assert [run async for run in client.runs(status="cancelled")] == []
    page = json_response('{"items":[],"next":"again"}')
    async with scripted(page) as server:
        client = await connect(server.url)
        with pytest.raises(ProtocolError):
            _ = [run async for run in client.runs()]


async def test_questions_are_answered_once_and_by_their_schema(serve: Serve, connect: Connect) -> None:
    async def ask(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("How many?", {"type": "integer", "maximum": 5})

    client = await connect(await serve(ask))
    asked: InputRequested | None = None
    async for event in client.stream({}):
        match event:
            case InputRequested(run_id=run_id, request_id=request_id):
                asked = event
                with pytest.raises(InvalidRequest) as invalid:
                    await client.respond(run_id, request_id, 6)
                assert invalid.value.details == [
                    {"path": "$", "message": "6 is greater than the maximum of 5"}
                ]
                (waiting,) = [run async for run in client.runs(waiting=True)]
                whole = await client.get(run_id)
                assert (whole.input, waiting.input_excerpt) == ({}, "{}")
                assert waiting == msgspec.structs.replace(whole, input=None, input_excerpt="{}")
                assert waiting.waiting_for == WaitingFor(
                    request_id=request_id,
                    prompt="How many?",
                    schema={"type": "integer", "maximum": 5},
                    expires_at=event.expires_at,
                )
                await client.respond(run_id, request_id, 5)
            case InputReceived(request_id=request_id, value=value):
                assert asked is not None
                assert (request_id, value) == (asked.request_id, 5)
            case Complete(output=output):
                assert output == 5
    assert asked is not None
    with pytest.raises(Conflict):
        await client.respond(asked.run_id, asked.request_id, 5)
    with pytest.raises(NotFound):
        await client.respond("unknown", asked.request_id, 5)
    with pytest.raises(ValueError, match="invalid run id"):
        await client.respond("../x", asked.request_id, 5)
    assert [run async for run in client.runs(waiting=True)] == []
    assert (await client.get(asked.run_id)).waiting_for is None


async def test_a_run_is_cancelled_with_a_reason(serve: Serve, connect: Connect) -> None:
    served = await serve(Waits())
    client = await connect(served)
    run = await client.start({})
    await client.cancel(run.run_id, "changed my mind & more")
    assert (await client.get(run.run_id)).status == "cancelled"
    events = [event async for event in client.events(run.run_id)]
    assert getattr(events[-1], "reason", None) == "changed my mind & more"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, PayloadTooLarge),
        (422, InvalidRequest),
        (429, TooManyRequests),
        (500, ServerError),
        (502, ServerError),
        (503, ServiceUnavailable),
        (504, AgentTimeout),
        (418, ResponseError),
        (307, ResponseError),
    ],
)
async def test_each_status_has_its_exception(
    connect: Connect, status: int, kind: type[ResponseError]
) -> None:
    async with scripted(error_response(status, "A_CODE", message="why")) as server:
        client = await connect(server.url)
        with pytest.raises(ResponseError) as raised:
            await client.invoke({})
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.message) == (status, "A_CODE", "why")
    assert str(error) == f"why (HTTP {status} A_CODE)"


def test_every_status_of_the_service_has_an_exception() -> None:
    kinds = [kind for _, kind in inspect.getmembers(served_errors, inspect.isclass)]
    statuses = {kind.status for kind in kinds if issubclass(kind, DockrionError)}
    unused = {405, 406, 410, 415}  # responses to requests that this client does not send
    unused |= {421}  # a Host that is wrong for every request
    assert statuses - unused == errors._BY_STATUS.keys()


async def test_an_error_response_of_a_proxy(connect: Connect) -> None:
    for body in (b"<html>", b"[" * 5000, b'{"error":1,"code":2}', b""):
        answer = b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n" + body
        async with scripted(answer) as server:
            client = await connect(server.url)
            with pytest.raises(ServerError, match="Bad Gateway") as raised:
                await client.get("r")
        assert raised.value.code == ""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no delay be longer than the service asks for."""
    monkeypatch.setattr("dockrion.client.retry._FIRST_DELAY_SECONDS", 0.0)


@pytest.mark.usefixtures("quick")
async def test_a_request_is_retried_after_the_delay_that_the_service_asks_for(connect: Connect) -> None:
    busy = [error_response(503, "SERVICE_UNAVAILABLE", SOON), error_response(429, "TOO_MANY_RUNS", SOON)]
    for method, response in ((Client.start, ACCEPTED), (Client.get, RUN)):
        async with scripted(*busy, response) as server:
            client = await connect(server.url)
            found: Any = await method(client, "r")
            assert found.run_id == "r"
            assert len(server.requests) == 3


@pytest.mark.usefixtures("quick")
async def test_a_stream_waits_to_start_and_to_resume(connect: Connect) -> None:
    gateway = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    busy = error_response(503, "SERVICE_UNAVAILABLE", SOON)
    async with scripted(busy, HEAD + GAP, gateway, busy, error_response(404, "NOT_FOUND")) as server:
        client = await connect(server.url)
        with pytest.raises(NotFound):
            _ = [event async for event in client.stream({})]
    assert [head.partition(b"?")[0].partition(b" HTTP")[0] for head in server.requests] == [
        b"POST /invoke/stream",
        b"POST /invoke/stream",
        *[b"GET /runs/r/events"] * 3,
    ]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ServiceUnavailable,
        ),
        (error_response(503, "SERVICE_UNAVAILABLE", "Idempotency-Replayed: true\r\n"), ServiceUnavailable),
        (error_response(500, "TOO_MANY_RUNS"), ServerError),
        (error_response(429, "RATE_LIMIT_EXCEEDED", "Retry-After: 3600\r\n"), TooManyRequests),
        (json_response("no JSON"), ProtocolError),
        (json_response('{"success":true}'), ProtocolError),
        (json_response("[" * 5000), ProtocolError),
    ],
)
async def test_a_response_that_another_attempt_would_get_too_is_final(
    connect: Connect, answer: bytes, kind: type[ClientError]
) -> None:
    async with scripted(answer) as server:
        client = await connect(server.url)
        with pytest.raises(kind):
            await client.invoke({})
        assert len(server.requests) == 1


LOST = [b"", b"HTTP/1.1 200 OK\r\nContent-Len", INVOKED[:-5]]


def keys(requests: list[bytes]) -> list[bytes]:
    """Return the idempotency keys of requests."""
    return [head.partition(b"Idempotency-Key: ")[2].partition(b"\r\n")[0] for head in requests]


@pytest.mark.usefixtures("quick")
async def test_a_lost_answer_is_asked_for_again_with_the_same_key(connect: Connect) -> None:
    busy = error_response(503, "SERVICE_UNAVAILABLE", SOON)
    async with scripted(*LOST, busy, LOST[0], INVOKED, INVOKED) as server:
        client = await connect(server.url)
        assert (await client.invoke({})).output == (await client.invoke({})).output == {"a": 1}
    first, *others, second = keys(server.requests)
    assert first
    assert set(others) == {first}
    assert second not in (b"", first)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_lost_answer_is_not_asked_for_without_end(connect: Connect, reset: bool) -> None:
    async with scripted(b"", reset=reset) as server:
        client = await connect(server.url, retry_timeout=0)
        for request in (client.invoke({}), client.start({}), anext(aiter(client.stream({})))):
            with pytest.raises(ConnectionLost):
                await request
        assert len(server.requests) == 3


@pytest.mark.usefixtures("quick")
async def test_a_request_without_a_key_is_never_sent_twice(connect: Connect) -> None:
    async with scripted(b"") as server:
        client = await connect(server.url)
        uncancelled = client.stream({}, resume=False)
        for request in (client.respond("r", "q", 1), anext(aiter(uncancelled))):
            with pytest.raises(ConnectionLost):
                await request
        assert keys(server.requests) == [b"", b""]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("cut", [0, 1, 40])
async def test_no_run_is_started_twice(serve: Serve, connect: Connect, cut: int) -> None:
    served = await serve(agent := Waits())
    agent.go.set()
    async with proxy(served.port, [cut, cut]) as cutting:
        client = await connect(cutting)
        assert [event.type async for event in client.stream({"n": 1})][-1] == "complete"
    async with proxy(served.port, [cut, cut]) as cutting:
        client = await connect(cutting)
        run_id = (await client.start({"n": 2})).run_id
        assert [event.type async for event in client.events(run_id)][-1] == "complete"
    async with proxy(served.port, [cut, cut]) as cutting:
        client = await connect(cutting)
        assert (await client.invoke({"n": 3})).output == {"done": True}
        assert not cutting.cuts_left
        assert len(cutting.requests) == 3
    assert agent.payloads == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.usefixtures("quick")
async def test_a_service_that_restarts_after_a_lost_answer_is_waited_for() -> None:
    results: list[ConnectionLost | str] = [
        ConnectionLost("broke"), ConnectionLost("cannot reach", sent=False), "the answer"
    ]  # fmt: skip

    async def send(_request: Request) -> str:
        result = results.pop(0)
        if isinstance(result, ConnectionLost):
            raise result
        return result

    request = Request("POST", ("runs",), headers={"Idempotency-Key": "k"})
    transport = Transport("http://127.0.0.1:1", retry_timeout=10)
    assert await transport.with_retry(request, send) == "the answer"


async def test_an_unreachable_service_is_reported_at_once(connect: Connect) -> None:
    client = await connect("http://127.0.0.1:1")
    requests: list[Any] = [
        client.invoke({}),
        client.get("r"),
        anext(aiter(client.stream({}))),
        client.start({}),
    ]
    for request in requests:
        with pytest.raises(ConnectionLost, match=r"^cannot reach http://127\.0\.0\.1:1: "):
            await request


async def test_a_silent_service_times_out(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        await quiet.wait()

    monkeypatch.setattr("dockrion.client.stream.STREAM", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    async with listening(hold) as port:
        client = await connect(f"http://127.0.0.1:{port}", retry_timeout=0.01)
        with pytest.raises(ConnectionLost, match="sent nothing for too long"):
            _ = [event async for event in client.events("r")]


async def test_a_rejected_token_is_renewed(connect: Connect) -> None:
    tokens = iter(["old", "new", "newest"])

    async def token() -> str:
        return next(tokens)

    async with scripted(error_response(401, "AUTH_ERROR"), INVOKED) as server:
        client = await connect(server.url, token=token)
        assert (await client.invoke({})).output == {"a": 1}
    sent = [head.partition(b"Authorization: ")[2].partition(b"\r\n")[0] for head in server.requests]
    assert sent == [b"Bearer old", b"Bearer new"]


async def test_an_api_key_is_accepted_and_a_run_has_a_token_for_browsers(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(auth={"mode": "api_key"})
    with pytest.raises(Unauthorized):
        await (await connect(served)).start({})
    run = await (await connect(served, api_key=KEY)).start({})
    assert run.events_token_expires_in == 300
    async with served.events(run.run_id, token=run.events_token) as reader:
        assert [message.event for message in await reader.all()] == ["started", "complete"]


@pytest.mark.parametrize("token", ["a-secret", lambda: "a-secret", None])
async def test_a_rejected_token_is_sent_once_and_not_shown(connect: Connect, token: Any) -> None:
    async with scripted(error_response(401, "AUTH_ERROR")) as server:
        client = await connect(server.url, token=token, api_key="a-secret", headers={"X-More": "a-secret"})
        with pytest.raises(Unauthorized) as raised:
            await client.invoke({})
        assert len(server.requests) == 1
        assert server.requests[0].count(b"a-secret") == 2 + (token is not None)
    assert "a-secret" not in str(raised.value)


async def test_a_redirect_does_not_get_the_credentials(connect: Connect) -> None:
    async with scripted(INVOKED) as other:
        away = f"HTTP/1.1 307 Go\r\nLocation: {other.url}/invoke\r\nContent-Length: 0\r\n\r\n".encode()
        async with scripted(away) as server:
            client = await connect(server.url, api_key="a-secret")
            with pytest.raises(ResponseError, match="307"):
                await client.invoke({})
        assert other.requests == []


async def test_the_password_of_a_url_is_not_shown(connect: Connect) -> None:
    client = await connect("http://user:a-secret@127.0.0.1:1")
    with pytest.raises(ConnectionLost) as raised:
        await client.invoke({})
    assert "a-secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://h", "http://", "http://h/?q=1", "/x"])
def test_a_malformed_url_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the URL of a service is http"):
        Client(url)


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "a b", "-a", "a" * 129, "é"])
async def test_a_malformed_run_id_is_rejected_before_it_is_sent(run_id: str) -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(ValueError, match="run id"):
        client.events(run_id)
    for use in (client.get(run_id), client.cancel(run_id), client.start({}, run_id)):
        with pytest.raises(ValueError, match="run id"):
            await use
    with pytest.raises(ValueError, match="after"):
        client.events("r", after=-1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), (" 7 ", 7), ("soon", None), ("-1", None), ("9" * 30, None), ("", None), ("1.5", None)],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    assert errors.from_response(503, "", {"Retry-After": text}, b"").retry_after == seconds


def test_retry_after_as_a_date() -> None:
    for date in (datetime.now(UTC) + timedelta(seconds=90), datetime(1999, 1, 1, tzinfo=UTC)):
        text = format_datetime(date, usegmt=True)
        left = errors.from_response(503, "", {"Retry-After": text}, b"").retry_after
        assert left is not None
        assert (80 < left <= 90) if date.year > 1999 else left == 0
    assert (
        errors.from_response(503, "", {"Retry-After": "Mon, 01 Jan 1999 00:00:00 -0000"}, b"").retry_after
        == 0
    )


def test_delays_grow_vary_and_end() -> None:
    schedule = RetrySchedule(1e9)
    delays = [schedule.next_delay() or 0.0 for _ in range(2000)]
    assert all(low <= delay <= 1.5 * low for delay, low in zip(delays, (1, 2, 4, 8, 16, 30), strict=False))
    assert all(LONGEST_DELAY_SECONDS <= delay <= 1.5 * LONGEST_DELAY_SECONDS for delay in delays[5:])
    assert len(set(delays)) == len(delays)
    schedule.reset()
    schedule.set_first_delay(0.25)
    assert 0.25 <= (schedule.next_delay() or 0) <= 0.375
    schedule.set_first_delay(0.25)  # a stream repeats it on each connection
    assert 0.5 <= (schedule.next_delay() or 0) <= 0.75
    assert 40 <= (schedule.next_delay(40) or 0) < 41
    assert (schedule.delay_after(0.1), schedule.delay_after(5)) == (0.15, 0)
    schedule.set_first_delay(0)
    assert schedule.delay_after(0) > 0
    schedule.set_first_delay(10**9)
    assert (schedule.next_delay() or 0) <= 1.5 * LONGEST_DELAY_SECONDS
    assert RetrySchedule(10).next_delay(11) is None
    assert RetrySchedule(0).next_delay() is None


def test_the_client_imports_nothing_of_the_server() -> None:
    code = "import sys, dockrion.client; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    needed = {
        "dockrion",
        "dockrion.background_tasks",
        "dockrion.backoff",
        "dockrion.errors",
        "dockrion.events.control_frames",
        "dockrion.events",
        "dockrion.events.decoding",
        "dockrion.events.encoding",
        "dockrion.events.filter",
        "dockrion.events.types",
        "dockrion.ids",
        "dockrion.json_encoding",
        "dockrion.wire",
        "dockrion.wire.sse",
    }
    ours = {name for name in modules if name.partition(".")[0] == "dockrion" and "client" not in name}
    assert ours == needed
    others = (
        "aiohttp.web",
        "aiohttp_cors",
        "yaml",
        "prometheus_client",
        "jsonschema_rs",
        "redis",
        "jwt",
        "dotenv",
    )
    assert not [name for name in modules if name.startswith(others)]
