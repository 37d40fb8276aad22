"""Fake servers with OpenAI's Chat Completions API, well-behaved or not."""

import asyncio
import json
from typing import Any

from tests.agents.harness import Ended
from tests.agents.processes import JSON, SSE, Handler, ReceivedRequest, Wire, bytes_of, run_against

MODEL = "some-model"
PAYLOAD = {"messages": [{"role": "user", "content": "Rain?"}]}
OPENAI: dict[str, Any] = {"protocol": "openai", "model": MODEL}
STOP = {"delta": {}, "finish_reason": "stop"}


def delta(**fields: Any) -> dict[str, Any]:
    """Return a choice with the next piece of a reply."""
    return {"delta": fields, "finish_reason": None}


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a chunk as OpenAI's API sends it."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "some-model-2"}
    return {**head, "choices": [{"index": 0, **choice} for choice in choices], **fields}


def frame(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def stream(*chunks: dict[str, Any], done: bool = True) -> bytes:
    return b"".join(map(frame, chunks)) + (b"data: [DONE]\n\n" if done else b"")


def choices(*each: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a chunk for each choice."""
    return [chunk(choice) for choice in each]


async def replied(*each: dict[str, Any], done: bool = True, payload: Any = None, **spec: Any) -> Ended:
    """Run once against a server that sends these chunks."""
    return await answered(bytes_of(SSE, stream(*each, done=done)), payload, **spec)


async def answered(handler: Handler, payload: Any = None, **spec: Any) -> Ended:
    """Run once against a server."""
    return await run_against(handler, PAYLOAD if payload is None else payload, **(OPENAI | spec))


async def answered_json(value: Any, **spec: Any) -> Ended:
    return await answered(bytes_of(JSON, json.dumps(value).encode()), **spec)


def endless(piece: bytes, content_type: str = SSE) -> Handler:
    """Send the same bytes again and again, until the client leaves."""

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(content_type)
        while True:
            await wire.send(piece)
            await asyncio.sleep(0)

    return answer
