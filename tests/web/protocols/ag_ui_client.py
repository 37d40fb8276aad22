"""Requests of AG-UI clients, and what they read."""

import json
from typing import Any

import aiohttp

from dockrion import StreamContext
from tests.conftest import Serve
from tests.protocols.logs import messages_of
from tests.support import Served
from tests.web.credentials import Headers
from tests.web.test_ownership import replicas

AG_UI: dict[str, Any] = {"protocols": ["ag-ui"]}
CONTINUE: dict[str, Any] = {"connection": {"on_disconnect": "continue"}}
END = b"\n\n"
THREAD = "thread-1"
Events = list[dict[str, Any]]


async def pair(serve: Serve, agent: Any, **sections: Any) -> tuple[Served, Served]:
    """Serve with two replicas; on the memory backend both are one."""
    return await replicas(serve, agent, expose=AG_UI, **sections)


def body(run_id: str = "run-1", text: str = "Hello", **fields: Any) -> dict[str, Any]:
    messages = [{"id": "m1", "role": "user", "content": text}]
    ids = {"threadId": THREAD, "runId": run_id, "protocolVersion": "1.0"}
    return {**ids, "messages": messages, **fields}


def answers(interrupt_id: str, value: Any = None, status: str = "resolved") -> list[dict[str, Any]]:
    return [{"interruptId": interrupt_id, "status": status, "payload": value}]


async def post(served: Served, sent: dict[str, Any], **options: Any) -> bytes:
    """Run the agent, and return the whole stream."""
    async with served.client.post("/ag-ui", json=sent, **options) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def read(
    served: Served, run_id: str, last: str | None = None, headers: Headers | None = None, **query: str
) -> bytes | None:
    """Return the stream of a run after a frame, None for 204."""
    async with reading(served, run_id, last, headers, **query) as response:
        content = await response.read()
        assert response.status == (200 if content else 204), content
        return content or None


def reading(
    served: Served, run_id: str, last: str | None = None, headers: Headers | None = None, **query: str
) -> Any:
    more: Headers = {} if last is None else {"Last-Event-ID": last}
    return served.client.get(f"/ag-ui/runs/{run_id}", params=query, headers={**(headers or {}), **more})


async def cut_after(response: aiohttp.ClientResponse, frames: int) -> list[bytes]:
    """Read so many frames, and close the connection."""
    found = [await response.content.readuntil(END) for _ in range(frames)]
    response.close()
    return found


def frames_of(stream: bytes) -> list[bytes]:
    return [part + END for part in stream.split(END)[:-1]]


def id_of(frame: bytes) -> str:
    head, _, rest = frame.partition(b"\n")
    assert head.startswith(b"id: "), frame
    assert rest
    return head.removeprefix(b"id: ").decode()


def events_of(stream: bytes) -> Events:
    return [json.loads(message.data) for message in messages_of(stream)]


def kinds(stream: bytes) -> list[str]:
    return [event["type"] for event in events_of(stream)]


async def talks(_: Any, context: StreamContext) -> dict[str, Any]:
    """Say all kinds of things, which are a stream of two dozen frames."""
    await context.emit_reasoning("Let me ", source="a")
    await context.emit_token("Hel", message_id="m1", source="b")
    await context.emit_reasoning("think", source="a")
    await context.emit_token("lo", message_id="m1", source="b")
    await context.emit_tool_call("search", {"q": "x"}, "c1", message_id="m1", source="b")
    await context.emit_tool_result("c1", {"hits": 1})
    await context.emit_step("searching")
    await context.emit("values", hits=1)
    await context.emit_message("Done", message_id="m2")
    return {"done": True}
