"""What holds for every protocol: streams that readers share, whatever is emitted, and hostile requests."""

import asyncio
import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, get_args

import pytest
from yarl import URL

from dockrion import StreamContext
from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.events import Entry
from dockrion.protocols.a2a.encoder import StreamEncoder
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.mcp.encoder import CallEncoder
from dockrion.protocols.openai.chat import ChunkEncoder
from dockrion.protocols.openai.responses import ResponseEncoder
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from tests.conftest import Serve
from tests.every_event import emitting
from tests.protocols.logs import HOSTILE_TEXTS, messages_of
from tests.support import Served
from tests.web.protocols.tiny import streams_open
from tests.web.wire import wire

READERS = 8
QUESTION = "What is new?"


@dataclass(frozen=True)
class Client:
    """How a protocol's clients ask.

    Attributes:
        protocol: The protocol.
        path: Where they send their requests.
        body: A request that is answered with a stream, with every field.
        encoder: What encodes the stream.
        watch: Where they go on reading a run, with its id; None if they cannot.
    """

    protocol: ProtocolName
    path: str
    body: dict[str, Any]
    encoder: type[Any]
    watch: str | None = None

    @property
    def expose(self) -> dict[str, Any]:
        return {"protocols": [self.protocol]}


def a2a_body(method: str, part: dict[str, Any]) -> dict[str, Any]:
    ids = {"messageId": "m", "contextId": "c", "referenceTaskIds": ["t"]}
    message = {**ids, "role": "user", "kind": "message", "parts": [part], "metadata": {"a": 1}}
    configuration = {"acceptedOutputModes": ["text/plain"], "blocking": True, "historyLength": 1}
    params = {"message": message, "configuration": configuration}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


CLIENTS = {
    "chat": Client(
        "openai",
        "/v1/chat/completions",
        {
            "model": "tested",
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": [{"type": "text", "text": QUESTION}], "name": "ann"},
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        },
        ChunkEncoder,
        "/v1/chat/completions/chatcmpl-{run_id}?stream=true",
    ),
    "responses": Client(
        "openai",
        "/v1/responses",
        {
            "model": "tested",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}],
            "instructions": "Be brief",
            "stream": True,
            "metadata": {"topic": "news"},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        },
        ResponseEncoder,
        "/v1/responses/resp_{run_id}?stream=true",
    ),
    "ag-ui": Client(
        "ag-ui",
        "/ag-ui",
        {
            "threadId": "thread",
            "runId": "run",
            "state": {"count": 1},
            "messages": [{"id": "1", "role": "user", "content": QUESTION}],
            "tools": [{"name": "f", "description": "d", "parameters": {"type": "object"}}],
            "context": [{"description": "d", "value": "v"}],
            "forwardedProps": {},
        },
        RunEncoder,
        "/ag-ui/runs/{run_id}",
    ),
    "vercel-ai": Client(
        "vercel-ai",
        "/api/chat",
        {
            "id": "chat",
            "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}],
            "trigger": "submit-message",
        },
        MessageEncoder,
        "/api/chat/chat/stream",
    ),
    "a2a": Client("a2a", "/a2a", a2a_body("SendStreamingMessage", {"text": QUESTION}), StreamEncoder),
    "a2a-0.3": Client(
        "a2a", "/a2a", a2a_body("message/stream", {"kind": "text", "text": QUESTION}), StreamEncoder
    ),
    "mcp": Client(
        "mcp",
        "/mcp",
        {
            "jsonrpc": "2.0",
            "id": "call",
            "method": "tools/call",
            "params": {
                "name": "tested",
                "arguments": {"question": QUESTION, "more": [1]},
                "_meta": {"progressToken": 1, "io.modelcontextprotocol/x": {}},
            },
        },
        CallEncoder,
    ),
}
EVERY = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


class Paced:
    """An agent that emits a token each time it is told to, until it is told to end."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[bool] = asyncio.Queue()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        while await self.steps.get():
            await context.emit_token("x")


async def ask(served: Served, client: Client) -> bytes:
    """Return the stream that answers a client; of those who ask the same at the same time, the same run's."""
    headers = {"Idempotency-Key": "k"}
    async with served.client.post(client.path, json=client.body, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        return await response.read()


async def watch(served: Served, path: str) -> bytes:
    async with served.client.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.read()


@EVERY
async def test_readers_of_a_run_share_what_is_encoded(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = client.encoder.encode, []

    def count(self: Any, state: Any, entries: Sequence[Entry]) -> Any:
        encoded.append(entries[0].sequence)
        return encode(self, state, entries)

    monkeypatch.setattr(client.encoder, "encode", count)
    served = await serve(agent := Paced(), expose=client.expose)
    readers = [asyncio.create_task(ask(served, client)) for _ in range(READERS)]
    await streams_open(served, READERS)
    agent.steps.put_nowait(True)
    async with served.client.get("/runs") as response:
        run_id = (await response.json())["items"][0]["run_id"]
    async with served.events(run_id) as events:
        await events.until("token")
        for number in range(READERS if client.watch else 0):  # and others, who come later
            readers.append(asyncio.create_task(watch(served, str(client.watch).format(run_id=run_id))))
            await streams_open(served, READERS + 1 + number + 1)
        for _ in range(5):  # one at a time, to readers who have all before
            agent.steps.put_nowait(True)
            await events.until("token")
        agent.steps.put_nowait(False)
        await events.all()
    assert len(set(await asyncio.gather(*readers))) == 1
    assert [sequence for sequence in encoded if 3 <= sequence <= 7] == [3, 4, 5, 6, 7]


@EVERY
async def test_stream_is_the_same_later_and_without_chunks(serve: Serve, client: Client) -> None:
    async def agent(payload: Any, context: StreamContext) -> str:
        for text in HOSTILE_TEXTS:
            await context.emit_token(text)
            await context.emit_reasoning(text, message_id=text)
            await context.emit_tool_call(text or "f", {"text": text}, "c")
            await context.emit_tool_result("c", result=text)
        await emitting(payload, context)
        return HOSTILE_TEXTS[1]

    served = await serve(agent, expose=client.expose)
    body = await ask(served, client)
    assert messages_of(body)
    assert await ask(served, client) == body
    async with wire(served) as connection:
        headers = {"Idempotency-Key": "k"}
        sent = json.dumps(client.body).encode()
        await connection.ask("POST", client.path, headers, sent, version="1.0")
        _, headers = await connection.head()
        assert "transfer-encoding" not in headers
        assert await connection.rest() == body


@EVERY
async def test_protocol_is_served_without_any_other_endpoint(serve: Serve, client: Client) -> None:
    expose = client.expose | {"rest": False, "streaming": "none"}
    served = await serve(lambda _payload: "Rain.", expose=expose, streaming={"async_runs": False})
    assert b"Rain." in await ask(served, client)
    async with served.client.get("/health") as response:
        assert response.status == 404


JUNK: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "\n\ndata: x\n\n", "\U0001f600", "a" * 300),
    *([], [[]], {}, [None], {"": {}}, {"type": "text"}, {"type": "x", "text": 1}, {"role": "user"}),
    [{"role": "user", "content": None}],
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container in a value with each of its keys."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def mutated(body: dict[str, Any], random: Random) -> dict[str, Any]:
    """Return a request with some of its values replaced, removed or added."""
    body = copy.deepcopy(body)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if found := list(places(body)):
            change(*random.choice(found), copy.deepcopy(random.choice(JUNK)), random)
    return body


def change(container: Any, key: Any, junk: Any, random: Random) -> None:
    kind = random.choice(["replace", "replace", "remove", "add"])
    if kind == "remove":
        container.pop(key)
    elif kind == "add" and isinstance(container, list):
        container.append(junk)
    else:
        container[random.choice(list(container)) if kind == "add" else key] = junk


@EVERY
async def test_any_request_is_answered_or_refused_but_breaks_nothing(
    serve: Serve, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(lambda payload: payload, expose=client.expose)
    random = Random(19)
    answered, refused = 0, 0
    for _ in range(250):
        body = mutated(client.body, random)
        async with served.client.post(client.path, json=body) as response:
            text = await response.read()
            assert response.status < 500, (body, text)
            if response.status == 202:
                continue
            if response.content_type == "text/event-stream":
                messages_of(text)
                answered += 1
            else:
                refused += response.status == 400 or "error" in json.loads(text)
    assert answered
    assert refused
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert QUESTION.encode() in await ask(served, client)


HOSTILE = [
    "",
    "0",
    "-1",
    "9" * 30,
    "1.5",
    "1.-1",
    "%00",
    "%0a%0ddata:%20x",
    "%ff",
    "%ed%a0%80",
    "..%2f",
    "a" * 300,
]
HOSTILE += [
    "é",
    "²",
    "\u2028",
    "%25",
    "null",
    "resp_",
    "resp_resp_x",
    "{run_id}",
    "1e3",
    "0x1",
    "+1",
    "1" * 3000,
]


async def test_any_id_and_position_is_answered_or_refused(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    names = list(get_args(ProtocolName))
    served = await serve(lambda payload: payload, expose={"protocols": names})
    run_id = await served.start()
    await served.finished(run_id)
    for text in HOSTILE:
        paths = [
            *(f"/v1/models/{text}", f"/v1/responses/resp_{text}", f"/v1/responses/{text}"),
            *(f"/ag-ui/runs/{text}", f"/api/chat/{text}/stream"),
            f"/v1/chat/completions/chatcmpl-{text}",
            f"/v1/chat/completions/chatcmpl-{run_id}?stream=true&starting_after={text}",
            f"/v1/responses/resp_{run_id}?stream=true&starting_after={text}",
            f"/v1/responses/resp_{run_id}?stream={text}",
            f"/ag-ui/runs/{run_id}?runId={text}&timeout={text}",
        ]
        headers = {"Last-Event-ID": text} if text.isascii() else {}
        for path in [*paths, f"/ag-ui/runs/{run_id}"]:
            url = URL(path, encoded=text.startswith("%"))
            async with served.client.get(url, headers=headers) as response:
                body = await response.read()
                assert response.status < 500, (path, body)
                if response.content_type == "text/event-stream":
                    messages_of(body)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
