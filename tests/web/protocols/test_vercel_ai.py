"""The endpoints of chat pages: which run answers in a chat, for whom, on which replica, and until when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from yarl import URL

from dockrion import StreamContext
from dockrion.backends.run_log import Run
from dockrion.errors import RunNotFound, ServiceUnavailable
from dockrion.web.protocols.stream import ProtocolStream
from tests.conftest import Serve
from tests.every_event import method_of
from tests.protocols.logs import messages_of
from tests.protocols.vercel_ai.streams import check_order, chunks_of
from tests.support import Served, wait_until
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import Waits, error_of, gauge
from tests.web.repeating import EVERY_BACKEND, KEY
from tests.web.test_ownership import replicas
from tests.web.test_request_log import requests
from tests.web.wire import wire

EXPOSE = {"protocols": ["vercel-ai"]}
CONTINUE = {"connection": {"on_disconnect": "continue"}}
FRAME_END = b"\n\n"
NO_RUN = b"-"


def body(text: str = "Hello", chat: str | None = "chat-1", **fields: Any) -> dict[str, Any]:
    messages = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}]
    return {"messages": messages, **({} if chat is None else {"id": chat}), **fields}


def stream_of(served: Served, chat: str = "chat-1") -> URL:
    return URL(f"http://127.0.0.1:{served.port}/api/chat/{quote(chat, safe='')}/stream", encoded=True)


@asynccontextmanager
async def sent(served: Served, **request: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a message, and read its reply up to the first token."""
    async with served.client.post("/api/chat", **({"json": body()} | request)) as response:
        assert response.status == 200, await response.text()
        await response.content.readuntil(b"first")
        yield response


async def resumed(served: Served, chat: str = "chat-1", headers: Headers | None = None) -> bytes | None:
    """Return the stream of a chat, None if nothing runs."""
    async with served.client.session.get(stream_of(served, chat), headers=headers) as response:
        content = await response.read()
        assert (response.status, bool(content)) in ((200, True), (204, False)), content
        return content or None


@EVERY_BACKEND
async def test_reply_is_resumed_on_every_replica_until_its_end(serve: Serve) -> None:
    here, there = await replicas(serve, agent := Waits(), expose=EXPOSE, streaming=CONTINUE)
    async with sent(here) as response:
        run_id = response.headers["X-Run-Id"]
        async with there.client.session.get(stream_of(there)) as reading:
            assert reading.headers["X-Run-Id"] == run_id
            assert reading.headers["x-vercel-ai-ui-message-stream"] == "v1"
            assert reading.headers["Location"] == f"/runs/{run_id}/events"
            agent.go.set()
            whole = await reading.read()
        assert whole.endswith(b'"first"}\n\n' + whole.partition(b'"first"}\n\n')[2])
        assert whole.endswith(await response.read())
    assert messages_of(whole)[-1].data == "[DONE]"
    assert [await resumed(each) for each in (here, there)] == [None, None]


@EVERY_BACKEND
async def test_the_next_message_of_a_chat_has_its_stream(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE, streaming=CONTINUE)
    async with sent(served) as first, sent(served) as second:
        reading = asyncio.create_task(resumed(served))
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 3)
        agent.go.set()
        found = await reading
        assert found
        assert second.headers["X-Run-Id"].encode() in found
        assert first.headers["X-Run-Id"].encode() not in found
        await first.read()
        await second.read()
    assert await resumed(served) is None


async def test_end_of_an_earlier_run_leaves_the_stream_of_the_next(serve: Serve) -> None:
    class Answers(Waits):
        async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
            if payload["messages"][0]["content"] == "short":
                await context.emit_token("first")
                return {}
            return await super().__call__(payload, context)

    served = await serve(agent := Answers(), expose=EXPOSE)
    async with sent(served), served.client.post("/api/chat", json=body("short", "chat-2")) as short:
        await short.read()
        reading = asyncio.create_task(resumed(served))
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
        agent.go.set()
        assert await reading


async def test_nobody_finds_the_chat_of_another_caller(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(agent := Waits(), expose=EXPOSE, **mode.sections(tmp_path))
        headers = mode.key("owner")
        async with sent(served, headers=headers):
            assert await resumed(served, headers=mode.key("other")) is None
            assert await resumed(served, headers=mode.key("auditor")) is None
            async with served.client.session.get(stream_of(served)) as response:
                await error_of(response, 401, "AUTH_ERROR")
            async with served.client.session.get(stream_of(served), headers=mode.key("operator")) as response:
                await error_of(response, 403, "FORBIDDEN")
            reading = asyncio.create_task(resumed(served, headers=headers))
            await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
            agent.go.set()
            assert await reading


async def test_pages_of_allowed_origins_may_send_the_headers_of_the_transport(serve: Serve) -> None:
    origin = "https://app.example"
    served = await serve(expose=EXPOSE | {"cors": {"origins": [origin]}})
    asked = {"Origin": origin, "Access-Control-Request-Headers": "authorization,content-type,user-agent"}
    chat = URL(f"http://127.0.0.1:{served.port}/api/chat")
    for url, method in ((chat, "POST"), (stream_of(served, "a/b"), "GET")):
        headers = asked | {"Access-Control-Request-Method": method}
        async with served.client.session.options(url, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Access-Control-Allow-Origin"] == origin
            allowed = response.headers["Access-Control-Allow-Headers"].lower().split(",")
            assert {"authorization", "content-type", "user-agent"} <= set(allowed)
    async with served.client.session.get(stream_of(served), headers={"Origin": origin}) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "X-Run-Id".lower() in response.headers["Access-Control-Expose-Headers"].lower()


CHATS = ["../../runs", "a/b?c=d#e", "%2F%00", "\n\r\0", "😀" * 300, " ", '"}\n\ndata: x', "chat:*{1}"]


async def test_any_text_may_be_the_id_of_a_chat(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    for chat in CHATS:
        agent.go.clear()
        async with sent(served, json=body(chat=chat)):
            reading = asyncio.create_task(resumed(served, chat))
            await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
            agent.go.set()
            assert await reading
        assert await resumed(served, chat + "x") is None


async def test_nothing_is_kept_of_a_chat_that_waits_for_no_reply(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE, streaming=CONTINUE)
    claims = served.backend._claims._values

    def held() -> bool:
        return any(value != NO_RUN for value, _ in claims.values())

    async with sent(served) as response:
        agent.go.set()
        await response.read()
    await wait_until(lambda: not held())
    agent.go.clear()
    async with sent(served):
        assert held()
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    reading = asyncio.create_task(resumed(served))
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 1)
    assert held()
    agent.go.set()
    assert await reading
    await wait_until(lambda: not held())


async def test_run_that_is_not_that_of_the_chat_is_not_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(Waits(), expose=EXPOSE)
    async with sent(served) as response:
        record = await served.backend.get(response.headers["X-Run-Id"])

        async def another(_run_id: str) -> Run:
            return msgspec.structs.replace(record, incarnation="another")

        async def gone(*_: Any) -> None:
            raise RunNotFound(record.run_id)

        with monkeypatch.context() as forgotten:
            forgotten.setattr(ProtocolStream, "send_events", gone)
            assert await resumed(served) is None
        monkeypatch.setattr(served.backend, "get", another)
        assert await resumed(served) is None


async def test_run_is_in_the_log_line_of_the_request(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    async with sent(served) as response:
        reading = asyncio.create_task(resumed(served))
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
        with caplog.at_level("INFO", "dockrion.requests"):
            agent.go.set()
            await reading
            await response.read()
            await wait_until(lambda: len(requests(caplog)) == 2)
        assert {line["run_id"] for line in requests(caplog)} == {response.headers["X-Run-Id"]}


async def test_chat_without_an_id_is_not_resumed(serve: Serve) -> None:
    served = await serve(Waits(), expose=EXPOSE)
    async with sent(served, json=body(chat=None)):
        assert await resumed(served) is None
    for wrong in ("", "x" * 2049, 1):
        async with served.client.post("/api/chat", json=body() | {"id": wrong}) as response:
            await error_of(response, 400, "VALIDATION_ERROR")


async def test_page_that_leaves_stops_the_agent_unless_it_is_to_go_on(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    async with wire(served) as connection:
        await connection.ask("POST", "/api/chat", body=msgspec.json.encode(body()))
        await connection.until(b"first")
    await wait_until(lambda: agent.stopped)
    assert await resumed(served) is None
    async with wire(served) as connection:
        content = msgspec.json.encode(body())
        await connection.ask("POST", "/api/chat?on_disconnect=continue", body=content)
        await connection.until(b"first")
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    reading = asyncio.create_task(resumed(served))
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 1)
    agent.go.set()
    assert await reading
    assert len(agent.stopped) == 1


@EVERY_BACKEND
async def test_message_with_a_key_is_answered_once(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    request = {"headers": KEY, "json": body(chat=KEY["Idempotency-Key"])}
    async with sent(served, **request) as first:
        async with sent(served, **request) as again:
            assert again.headers["Idempotency-Replayed"] == "true"
            assert again.headers["X-Run-Id"] == first.headers["X-Run-Id"]
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 1)
        agent.go.set()
        await first.read()
    assert (len(agent.ended), agent.stopped) == (1, [])


async def test_run_whose_chat_cannot_be_stored_is_stopped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE, streaming=CONTINUE)

    async def away(*_: Any) -> bytes:
        await wait_until(lambda: agent.payloads)
        raise ServiceUnavailable("the storage cannot be reached")

    monkeypatch.setattr(served.service.backend, "claim", away)
    async with served.client.post("/api/chat", json=body()) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
    await wait_until(lambda: agent.stopped)


async def test_reply_goes_on_with_the_message_of_the_assistant(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    agent.go.set()
    answered = {"id": "a1\n", "role": "assistant", "parts": [{"type": "text", "text": "Hi"}]}
    messages = [*body()["messages"], answered]
    for trigger, message_id in ((None, "a1\n"), ("submit-message", "a1\n"), ("regenerate-message", None)):
        request = body() | {"messages": messages, "trigger": trigger}
        async with served.client.post("/api/chat", json=request) as response:
            start, *_ = chunks_of(messages_of(await response.read()))
            assert start["messageId"] == (message_id or response.headers["X-Run-Id"])
            assert start["messageMetadata"] == {"runId": response.headers["X-Run-Id"]}
    messages[-1] = answered | {"id": "x" * 257}
    async with served.client.post("/api/chat", json=body() | {"messages": messages}) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


EVENTS: list[dict[str, Any]] = [
    {"type": "reasoning", "content": "Hm", "message_id": "m1"},
    {"type": "token", "content": "first", "message_id": "m1"},
    {"type": "token", "content": " word", "message_id": "m1"},
    {"type": "tool_call", "tool_call_id": "c1", "name": "search", "arguments": {"q": "é\n"}},
    {"type": "progress", "step": "s", "progress": 0.5},
    {"type": "tool_result", "tool_call_id": "c1", "result": [1]},
    {"type": "token", "content": "last", "message_id": "m2"},
]


@EVERY_BACKEND
async def test_connection_cut_at_every_frame_is_resumed_elsewhere_byte_for_byte(serve: Serve) -> None:
    go = asyncio.Event()

    async def acts(_: Any, context: StreamContext) -> None:
        for fields in EVENTS:
            method, arguments = method_of(fields)
            await getattr(context, method)(**arguments)
        await go.wait()

    here, there = await replicas(serve, acts, expose=EXPOSE, streaming=CONTINUE)
    async with here.client.post("/api/chat", json=body()) as response:
        known = await response.content.readuntil(b'"last"}' + FRAME_END)
        frames = known.split(FRAME_END)[:-1]
        assert len(frames) == 17
        ends = [sum(len(frame + FRAME_END) for frame in frames[:number]) for number in range(len(frames) + 1)]
        for end in ends:
            async with here.client.session.get(stream_of(here)) as cut:
                assert await cut.content.readexactly(end) == known[:end]
        await wait_until(lambda: gauge(here.service.metrics.requests.open_streams) == 1)
        readings = [asyncio.create_task(resumed(there)) for _ in ends]
        await wait_until(
            lambda: gauge(there.service.metrics.requests.open_streams) >= len(ends) + (here is there)
        )
        go.set()
        whole = known + await response.read()
    assert set(await asyncio.gather(*readings)) == {whole}
    chunks = chunks_of(messages_of(whole))
    check_order(chunks)
    assert [chunk["type"] for chunk in chunks[-2:]] == ["finish-step", "finish"]
