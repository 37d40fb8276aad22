"""The clients of other protocols beside those of plain SSE: what encoding costs, and what a reader does."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from statistics import median
from typing import Any

from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.events import Entry
from dockrion.protocols import Encoder, State
from dockrion.protocols.a2a.encoder import StreamEncoder
from dockrion.protocols.a2a.objects import TaskIds, Writer
from dockrion.protocols.a2a.updates import UpdateOptions
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.mcp.encoder import CallEncoder
from dockrion.protocols.openai.chat import ChunkEncoder, chunk_head
from dockrion.protocols.openai.chat_parts import ReplyOptions
from dockrion.protocols.openai.response_object import ResponseInfo
from dockrion.protocols.openai.responses import ResponseEncoder
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from dockrion.wire import sse
from tests.bench.scenarios import Session
from tests.bench.servers import Server
from tests.every_event import EVENTS
from tests.protocols.logs import log_of

NAMES: list[ProtocolName] = ["openai", "ag-ui", "vercel-ai", "a2a", "mcp"]
_RUN = str(uuid.UUID(int=2**127))
_EVENTS = 512
_HEAD = {"id": f"chatcmpl-{_RUN}", "created": 1_800_000_000, "model": "bench"}
ENCODERS: dict[str, Encoder[Any]] = {
    "openai chat": ChunkEncoder(chunk_head(_HEAD), ReplyOptions()),
    "openai responses": ResponseEncoder(ResponseInfo(_RUN, 1_800_000_000, b'"bench"', "bench")),
    "ag-ui": RunEncoder(RunIds(_RUN, "thread", _RUN)),
    "vercel-ai": MessageEncoder(_RUN, _RUN),
    "a2a": StreamEncoder(Writer("1.0", TaskIds(_RUN, _RUN), 1), UpdateOptions(_RUN)),
    "mcp": CallEncoder(1, _RUN, progress_token=1),
}


@dataclass(frozen=True)
class Client:
    """How a protocol's client asks for a stream.

    Attributes:
        path: Where it sends its request.
        body: Returns a request with a question.
    """

    path: str
    body: Callable[[str], Any]


PLAIN = "plain SSE"
# How many readers a run has, and what its agent does.
STREAMS: list[tuple[str, int, dict[str, Any]]] = [
    ("burst, a reader", 1, {"tokens": 20_000}),
    ("burst, 50 readers", 50, {"tokens": 4_000}),
    ("500 events/s, a reader", 1, {"tokens": 1_500, "pause": 0.002}),
    ("500 events/s, 50 readers", 50, {"tokens": 1_500, "pause": 0.002}),
]
CLIENTS = {
    PLAIN: Client("/invoke/stream", json.loads),
    "openai chat": Client(
        "/v1/chat/completions", lambda text: {"messages": [{"role": "user", "content": text}], "stream": True}
    ),
    "openai responses": Client("/v1/responses", lambda text: {"input": text, "stream": True}),
    "ag-ui": Client(
        "/ag-ui",
        lambda text: {
            "threadId": "t",
            "runId": str(uuid.uuid4()),
            "messages": [{"id": "1", "role": "user", "content": text}],
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {},
        },
    ),
    "vercel-ai": Client(
        "/api/chat",
        lambda text: {"messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}]},
    ),
    "a2a": Client(
        "/a2a",
        lambda text: {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendStreamingMessage",
            "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]}},
        },
    ),
    "mcp": Client(
        "/mcp",
        lambda text: {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "bench", "arguments": json.loads(text), "_meta": {"progressToken": 1}},
        },
    ),
}


def encoding(rounds: int) -> Iterator[tuple[str, str, float, float]]:
    """Measure what encoding 512 events of a run that goes on costs, in one page or event by event.

    Yields:
        The encoder, the kind of events, the CPU time per event in microseconds, and its ratio to plain SSE.
    """
    tokens = [_token(number) for number in range(_EVENTS + 2)]
    in_turn = [_token(number) | {"source": f"writer-{number % 2}"} for number in range(_EVENTS + 2)]
    mixed = [EVENTS[number % len(EVENTS)] for number in range(_EVENTS + 2)]
    for kind, emitted, size in (
        ("a page of tokens", tokens, _EVENTS),
        ("lone tokens", tokens, 1),
        ("lone tokens of two agents", in_turn, 1),
        ("a page of all types", mixed, _EVENTS),
    ):
        started, first, second, *entries = log_of(*emitted)
        pages = [entries[begin : begin + size] for begin in range(0, _EVENTS, size)]
        for name, encoder in ENCODERS.items():
            mine, plain = [], []
            state = encoder.encode(encoder.start(), (started, first, second))[1]
            for _ in range(rounds * 15):  # in turn, as the speed of the machine varies
                plain.append(_seconds(partial(_frame, pages)))
                mine.append(_seconds(partial(_encode, encoder, state, pages)))
            ratio = median(one / other for one, other in zip(mine, plain, strict=True))
            yield name, kind, median(mine) * 1e6 / _EVENTS, ratio


def _token(number: int) -> dict[str, Any]:
    return {"type": "token", "content": f"token {number}"}


def _frame(pages: list[list[Entry]]) -> None:
    for page in pages:
        sse.encode_events(page)


def _encode(encoder: Encoder[Any], state: State, pages: list[list[Entry]]) -> None:
    for page in pages:
        _, state = encoder.encode(state, page)


def _seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time of one call, of several."""
    times = 10
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


async def delivering(
    server: Server, session: Session, readers: int, rounds: int, **payload: Any
) -> dict[str, tuple[float, float]]:
    """Measure the streams of a run that several clients have asked for with the same request.

    Args:
        server: The service.
        session: The client.
        readers: How many clients there are.
        rounds: How often each is measured.
        payload: What the agent is to do; `tokens` of it.

    Returns:
        For each protocol, the service's CPU time per delivered event in microseconds, and its ratio to that
        of plain SSE.
    """
    used: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for number in range(rounds + 1):
        for name, client in CLIENTS.items():
            before = server.cpu_seconds
            key, body = str(uuid.uuid4()), client.body(json.dumps(payload))
            await asyncio.gather(
                *(_read(session, server.url + client.path, body, key) for _ in range(readers))
            )
            if number:  # the first round loads what is needed
                used[name].append((server.cpu_seconds - before) * 1e6 / payload["tokens"] / readers)
    plain = used[PLAIN]
    return {
        name: (median(found), median(one / other for one, other in zip(found, plain, strict=True)))
        for name, found in used.items()
    }


async def _read(session: Session, url: str, body: Any, key: str) -> None:
    async with session.post(url, json=body, headers={"Idempotency-Key": key}) as response:
        if response.status != HTTPStatus.OK:
            raise SystemExit(f"{url} failed: {response.status} {await response.text()}")
        while await response.content.readany():
            pass
