"""One agent of every kind: its payload tells it to stream `abc`, to raise, or to wait until stopped."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from aiohttp import web
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, StateGraph

from dockrion import StreamContext, get_current_context
from dockrion.agents.handler import HandlerAgent, ObjectAgent
from dockrion.agents.langchain import create_agent as runnable_agent
from dockrion.agents.langgraph import create_agent as graph_agent
from dockrion.agents.remote import RemoteAgent
from dockrion.runs.agent import Agent
from tests.agents.harness import spin
from tests.support import dockfile

SPELT = {"text": "abc"}
SPELL, BREAK, WAIT = {"do": "spell"}, {"do": "break"}, {"do": "wait"}


class BrokenError(Exception):
    """The exception that the agents raise."""


@dataclass
class Kind:
    """An agent, how often it has begun to wait, and how often it was cancelled while it waited."""

    agent: Agent
    waits: list[str]
    stops: list[str]


Make = Callable[[Path], AbstractAsyncContextManager[Kind]]


class _Work:
    """The agent's code, sync and async."""

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.stops: list[str] = []

    def sync(self, payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
        context.sync_emit_token("a")
        if payload["do"] == "break":
            raise BrokenError("broken on purpose")
        if payload["do"] == "wait":
            self.waits.append("sync")
            spin(context)
            self.stops.append("sync")
        context.sync_emit_token("b")
        context.sync_emit_token("c")
        return dict(SPELT)

    async def awaited(self, payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
        await context.emit_token("a")
        if payload["do"] == "break":
            raise BrokenError("broken on purpose")
        if payload["do"] == "wait":
            self.waits.append("async")
            try:
                await asyncio.Event().wait()
            finally:
                self.stops.append("async")
        await context.emit_token("b")
        await context.emit_token("c")
        return dict(SPELT)

    def generator(self, payload: dict[str, Any], context: StreamContext) -> Iterator[Any]:
        yield "a"
        if payload["do"] == "break":
            raise BrokenError("broken on purpose")
        if payload["do"] == "wait":
            self.waits.append("generator")
            spin(context)
            self.stops.append("generator")
        yield "b"
        yield "c"
        yield dict(SPELT)

    async def async_generator(self, payload: dict[str, Any], context: StreamContext) -> AsyncIterator[Any]:
        yield "a"
        if payload["do"] == "break":
            raise BrokenError("broken on purpose")
        if payload["do"] == "wait":
            self.waits.append(context.run_id)
            try:
                await asyncio.Event().wait()
            finally:
                self.stops.append(context.run_id)
        yield "b"
        yield "c"
        yield dict(SPELT)


def _current() -> StreamContext:
    context = get_current_context()
    assert context is not None
    return context


def _handler(shape: str) -> Make:
    @asynccontextmanager
    async def make(_folder: Path) -> AsyncIterator[Kind]:
        doings = _Work()
        yield Kind(HandlerAgent(getattr(doings, shape)), doings.waits, doings.stops)

    return make


@asynccontextmanager
async def _object(_folder: Path) -> AsyncIterator[Kind]:
    doings = _Work()

    class Made:
        def invoke(self, payload: dict[str, Any], context: StreamContext) -> Any:
            return doings.sync(payload, context)

        def astream(self, payload: dict[str, Any], context: StreamContext) -> Any:
            return doings.async_generator(payload, context)

    yield Kind(ObjectAgent(Made()), doings.waits, doings.stops)


class _State(TypedDict, total=False):
    do: str
    text: str


def _graph(*, sync: bool) -> Make:
    @asynccontextmanager
    async def make(_folder: Path) -> AsyncIterator[Kind]:
        doings = _Work()

        def node(state: _State) -> Any:
            return doings.sync(dict(state), _current())

        async def async_node(state: _State) -> Any:
            return await doings.awaited(dict(state), _current())

        made: Any = StateGraph(_State)
        made.add_node("work", node if sync else async_node)
        made.add_edge(START, "work")
        agent = graph_agent(made.compile(), {}, threads=4)
        yield Kind(agent, doings.waits, doings.stops)
        await agent.aclose()

    return make


def _runnable(*, sync: bool) -> Make:
    @asynccontextmanager
    async def make(_folder: Path) -> AsyncIterator[Kind]:
        doings = _Work()

        def work(payload: dict[str, Any]) -> Any:
            return doings.sync(payload, _current())

        async def async_work(payload: dict[str, Any]) -> Any:
            return await doings.awaited(payload, _current())

        made: Any = RunnableLambda(work if sync else async_work)
        agent = runnable_agent(made, {}, threads=4)
        yield Kind(agent, doings.waits, doings.stops)
        await agent.aclose()

    return make


def _process(content_type: str, *, uds: bool = False) -> Make:
    """Respond as an agent process does."""

    @asynccontextmanager
    async def make(folder: Path) -> AsyncIterator[Kind]:
        waits: list[str] = []
        stops: list[str] = []

        async def work(request: web.Request) -> web.StreamResponse:
            payload = await request.json()
            answer = web.StreamResponse(headers={"Content-Type": content_type})
            await answer.prepare(request)

            async def say(event_type: str, **fields: Any) -> None:
                named, whole = json.dumps(fields), json.dumps({"type": event_type, **fields})
                framed = f"event: {event_type}\ndata: {named}\n\n"
                await answer.write((framed if "event-stream" in content_type else f"{whole}\n").encode())

            await say("token", content="a")
            if payload["do"] == "break":
                await say("error", error="BrokenError: broken on purpose")
                return answer
            if payload["do"] == "wait":
                waits.append("process")
                try:
                    await asyncio.Event().wait()
                finally:
                    stops.append("process")
            await say("token", content="b")
            await say("token", content="c")
            await say("complete", output=SPELT)
            return answer

        app = web.Application()
        app.router.add_post("/work", work)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site: web.BaseSite
        if uds:
            path = folder / "agent.sock"
            site = web.UnixSite(runner, path)
            await site.start()
            url = f"unix:{path}:/work"
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/work"
        agent = RemoteAgent(dockfile(folder, {"agent": {"name": "tested", "url": url}}).dockfile)
        yield Kind(agent, waits, stops)
        await agent.aclose()
        await runner.cleanup()

    return make


EVERY_KIND: dict[str, Make] = {
    "function": _handler("sync"),
    "async function": _handler("awaited"),
    "generator": _handler("generator"),
    "async generator": _handler("async_generator"),
    "object": _object,
    "graph": _graph(sync=False),
    "graph with a sync node": _graph(sync=True),
    "runnable": _runnable(sync=False),
    "sync runnable": _runnable(sync=True),
    "process, event stream": _process("text/event-stream"),
    "process, lines": _process("application/x-ndjson"),
    "process, unix socket": _process("text/event-stream", uds=True),
}
