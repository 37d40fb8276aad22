"""A server of the `a2a-sdk` package as the agent, in both versions of the protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Part, Task, TaskState
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette

from tests.agents.harness import Bench, bench
from tests.agents.processes import JSON, ReceivedRequest, Wire, process, remote
from tests.runs.asking import answer, waiting
from tests.support import TIMEOUT_SECONDS, wait_until

VERSIONS = ("1.0", "0.3")


class Courier(AgentExecutor):
    """Works as the user's text says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()
        self.received: list[dict[str, Any]] = []
        self.methods: list[str] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        self.received.append(MessageToDict(context.message))
        if context.current_task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        else:
            task = context.current_task
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        text = context.get_user_input()
        if text == "wait":
            await updater.start_work(new_text_message("waiting"))
            await asyncio.Event().wait()
        if text == "fail":
            await updater.failed(new_text_message("no parcel"))
            return
        if text == "ask":
            await updater.requires_input(new_text_message("By express?"))
            return
        await updater.start_work(new_text_message("on the scales"))
        await updater.add_artifact([Part(text="I have ")], artifact_id="said", append=False)
        if text == "slowly":
            await self.go_on.wait()
        await updater.add_artifact(
            [Part(text=text or "it")], artifact_id="said", append=True, last_chunk=True
        )
        await updater.add_artifact([Part(data=ParseDict({"price": 5}, Value()))], artifact_id="bill")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.cancelled.set()
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


class Store(InMemoryTaskStore):
    """Knows when a task has completed for all who ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self.completed = asyncio.Event()

    async def save(self, task: Task, *more: Any, **options: Any) -> None:
        await super().save(task, *more, **options)
        if task.status.state == TaskState.TASK_STATE_COMPLETED:
            self.completed.set()


def card(*, streaming: bool) -> AgentCard:
    interfaces = [
        AgentInterface(url="http://h/", protocol_binding="JSONRPC", protocol_version=version)
        for version in VERSIONS
    ]
    return AgentCard(
        name="courier",
        description="Sends parcels",
        version="1",
        supported_interfaces=interfaces,
        capabilities=AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="courier", name="courier", description="Sends parcels", tags=["parcels"])],
    )


@asynccontextmanager
async def courier(
    version: str, *, streaming: bool = True, frames: int | None = None, completes: bool = False
) -> AsyncIterator[tuple[Bench, Courier]]:
    """Run against a server.

    Args:
        version: What it speaks.
        streaming: Whether it streams.
        frames: How many frames of its first response arrive, None for all.
        completes: Whether its first task completes before its second response.
    """
    executor, store = Courier(), Store()
    handler = DefaultRequestHandler(executor, store, card(streaming=streaming))
    app = Starlette(routes=create_jsonrpc_routes(handler, "/run", enable_v0_3_compat=True))

    async def handle(request: ReceivedRequest, wire: Wire) -> None:
        sent = request.json
        headers = dict(request.headers)
        if version == "0.3":  # a server that knows nothing of later versions
            del headers["a2a-version"]
            if "/" not in sent["method"]:
                error = {"code": -32601, "message": "Method not found"}
                await wire.whole(JSON, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode())
                return
        executor.methods.append(sent["method"])
        if completes and len(executor.methods) == 2:
            await store.completed.wait()
        await served_by(app, request, headers, wire, frames if len(executor.methods) == 1 else None)

    async with process(handle) as made, remote(made.url, protocol="a2a") as agent, bench(agent) as runs:
        yield runs, executor
    for task in asyncio.all_tasks():  # sse-starlette leaves one behind in each event loop
        if "_shutdown_watcher" in repr(task.get_coro()):
            task.cancel()


async def served_by(
    app: Starlette, request: ReceivedRequest, headers: dict[str, str], wire: Wire, frames: int | None
) -> None:
    """Answer a request with an application of ASGI; close the connection after so many parts of the body."""
    left = frames
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    bodies = [request.body]

    async def receive() -> dict[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await wire.disconnected()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal left
        if left == 0:
            return
        if message["type"] == "http.response.start":
            fields = {name.decode(): value.decode() for name, value in message["headers"]}
            await wire.begin(fields["content-type"].partition(";")[0], str(message["status"]) + " -")
        else:
            await wire.send(message.get("body", b""))
            left = None if left is None else left - 1
            if left == 0:
                wire.close()

    await app(scope, receive, send)  # type: ignore[arg-type]
    wire.close()


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "no stream"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_updates_and_artifacts_become_events_and_the_output(version: str, streaming: bool) -> None:
    async with courier(version, streaming=streaming) as (runs, executor):
        ended = await runs.run(said("a book"))
    assert (ended.tokens, ended.output) == (
        ["I have ", "a book"] if streaming else ["I have a book"],
        {"price": 5},
    )
    progress = {"type": "progress", "step": "working", "progress": 0.0, "message": "on the scales"}
    assert (progress in ended.own) == streaming
    (received,) = executor.received
    assert received["role"] == "ROLE_USER"
    assert [part["text"] for part in received["parts"]] == ["a book"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_payload_without_messages_is_data(version: str) -> None:
    async with courier(version) as (runs, executor):
        assert (await runs.run({"parcel": [1]})).output == {"price": 5}
    assert executor.received[0]["parts"][0]["data"] == {"parcel": [1]}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_person_is_asked_and_the_task_goes_on(version: str) -> None:
    async with courier(version) as (runs, executor):
        run_id = await runs.start(said("ask"))
        assert (await waiting(runs, run_id)).prompt == "By express?"
        await answer(runs, run_id, "yes")
        ended = await runs.ended(run_id)
    assert (ended.tokens, ended.output) == (["I have ", "yes"], {"price": 5})
    first, second = executor.received
    assert second["taskId"] == first["taskId"]


async def test_a_failure_is_the_runs_error() -> None:
    async with courier("1.0") as (runs, _):
        ended = await runs.run(said("fail"))
    assert (ended.code, ended.error) == ("AGENT_EXECUTION_ERROR", "no parcel")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cancel_cancels_the_task(version: str) -> None:
    async with courier(version) as (runs, executor):
        run_id = await runs.start(said("wait"))
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(executor.cancelled.wait(), TIMEOUT_SECONDS)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_goes_on_after_a_lost_connection(version: str, frames: int) -> None:
    async with courier(version, frames=frames) as (runs, executor):
        run_id = await runs.start(said("slowly"))
        await wait_until(lambda: len(executor.methods) == 2)
        executor.go_on.set()
        ended = await runs.ended(run_id)
    assert ("".join(ended.tokens), ended.output) == ("I have slowly", {"price": 5})
    assert [each["message"] for each in ended.own if each["type"] == "progress"] == ["on the scales"]
    assert executor.methods[1] == ("SubscribeToTask" if version == "1.0" else "tasks/resubscribe")


async def test_a_task_that_has_ended_meanwhile_is_got() -> None:
    async with courier("1.0", frames=1, completes=True) as (runs, executor):
        ended = await runs.run(said("a book"))
    assert ("".join(ended.tokens), ended.output) == ("I have a book", {"price": 5})
    assert executor.methods == ["SendStreamingMessage", "SubscribeToTask", "GetTask"]
