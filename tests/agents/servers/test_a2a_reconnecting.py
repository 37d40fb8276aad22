"""Tasks of A2A whose connection is lost: followed to their end, whatever the server tells again."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import StreamContext, ids
from dockrion.agents import reconnecting
from tests.agents.harness import Bench, Ended, bench
from tests.agents.processes import JSON, SSE, Handler, Process, ReceivedRequest, Wire, process, remote, served
from tests.agents.servers.openai_server import PAYLOAD
from tests.agents.servers.test_a2a import A2A, artifact, frame, response, status, stream, task
from tests.agents.servers.test_a2a_dockrion import carried
from tests.agents.servers.test_ag_ui_dockrion import direct, speaks
from tests.backends.conformance import delete_keys
from tests.conftest import Serve
from tests.runs.asking import answer
from tests.servers import KINDS, shared
from tests.support import Served, wait_until
from tests.web.test_ownership import replicas

END = b"\n\n"
DOCKRION: dict[str, Any] = {"expose": {"protocols": ["a2a"]}}
FILE = {"url": "https://h/a.png", "mediaType": "image/png"}
STORY: list[dict[str, Any]] = [  # as a server tells it whose statuses and artifacts have no ids of their own
    task(),
    status("WORKING", "on the scales"),
    artifact({"text": "I"}),
    artifact({"text": " ha"}, append=True),
    artifact({"text": "ve"}, {"data": 1}, append=True),
    status("WORKING", "in the van"),
    artifact({"text": " it"}, FILE, append=True),
    artifact({"data": 2}, append=True),
    status("COMPLETED"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(reconnecting, "LONGEST_DELAY", 0.002)


def methods(made: Process) -> list[str]:
    return [request.json["method"] for request in made.requests]


@asynccontextmanager
async def cut(
    inners: Sequence[Served], frames: Callable[[int], int], *, arrives: bool = True
) -> AsyncIterator[tuple[Bench, Process]]:
    """Run against replicas in turn, through a proxy that cuts their streams.

    Args:
        inners: The replicas.
        frames: Returns how many frames of the response to a request arrive, by the number of the request.
        arrives: Whether the first answer to a question arrives.
    """
    numbers = itertools.count()
    answers: list[ReceivedRequest] = []

    async def pass_on(request: ReceivedRequest, wire: Wire) -> None:
        number = next(numbers)
        if b'"taskId"' in request.body:
            answers.append(request)
            if len(answers) == 1 and not arrives:
                wire.reset()
                return
        inner = inners[number % len(inners)]
        names = ("content-type", "a2a-version", "last-event-id")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        async with inner.client.post("/a2a", data=request.body, headers=headers) as answered:
            if answered.content_type != SSE:
                await wire.whole(JSON, await answered.read())
                return
            await wire.chunked(SSE)
            for _ in range(frames(number)):
                if not (data := await answered.content.readuntil(END)):
                    await wire.chunk()
                    return
                await wire.chunk(data)
            if number % 2 and (data := await answered.content.readuntil(END)):
                await wire.chunk(data[: len(data) // 2])
            wire.close()  # in the middle of the response

    async with process(pass_on) as made, remote(made.url, **A2A) as agent, bench(agent) as runs:
        yield runs, made


@pytest.fixture(params=["memory", KINDS[0]])
def _every_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "memory":
        yield
        return
    name = f"tested-{ids.uuid7()}"
    monkeypatch.setattr("tests.support.SHARED_REDIS", {"url": shared(request.param).url, "agent": name})
    yield
    delete_keys(request.param, name)


@pytest.mark.usefixtures("_every_backend")
async def test_a_stream_that_is_cut_at_every_frame_gives_the_same_events(serve: Serve) -> None:
    inners = await replicas(serve, speaks, **DOCKRION)
    directly = await direct(speaks)
    requests = []
    for frames in range(1, 18):
        async with cut(inners, lambda _, frames=frames: frames) as (runs, made):  # type: ignore[misc]
            ended = await runs.run(PAYLOAD)
        assert carried(ended.own) == carried(directly.own)
        assert ended.output == directly.output
        assert set(methods(made)) <= {"SendStreamingMessage", "SubscribeToTask"}
        requests.append(len(made.requests))
    assert (max(requests), min(requests)) == (16, 1)


async def asks_twice(_payload: Any, context: StreamContext) -> Any:
    answers = []
    for number in (1, 2):
        await context.emit_token(f"{number}?")
        answers.append(await context.ask(f"Question {number}?"))
        await context.emit_step(f"answer {number}")
    return answers


@pytest.mark.parametrize("frames", [(1, 0, 2), (2, 0, 1), (1,), (4, 0), (9, 0), (3, 0, 0)])
@pytest.mark.parametrize("arrives", [True, False], ids=["answer arrives", "answer is lost"])
async def test_a_person_is_asked_once_however_often_the_stream_is_cut(
    serve: Serve, frames: Sequence[int], arrives: bool
) -> None:
    inner = await serve(asks_twice, **DOCKRION)
    async with cut([inner], lambda number: frames[number % len(frames)], arrives=arrives) as (runs, made):
        run_id = await runs.start(PAYLOAD)
        for number in (1, 2):
            await answer(runs, run_id, f"answer {number}", f"Question {number}?")
        ended = await runs.ended(run_id)
    types = ["token", "input_requested", "input_received", "step"]
    assert [each["type"] for each in ended.own] == types * 2
    assert ended.output == ["answer 1", "answer 2"]
    assert methods(made).count("SendStreamingMessage") == (3 if arrives else 4)


class Foreign:
    """A server that tells `STORY`, one update each time that it is asked, and remembers it.

    Args:
        told: What a subscription begins with: the task as it is, everything, or what comes next.
        at_once: How many updates come over one connection.
    """

    def __init__(self, told: str, at_once: int = 1) -> None:
        self._told = told
        self._at_once = at_once
        self._count = 0  # of updates that have happened

    async def __call__(self, request: ReceivedRequest, wire: Wire) -> None:
        first = self._count
        self._count = min(first + self._at_once, len(STORY))
        if request.json["method"] == "GetTask":
            body = json.dumps(response(result=self._task()["task"])).encode()
            await wire.whole(JSON, body)
            return
        begins = {"task": [self._task(first)], "everything": STORY[:first], "next": []}[self._told]
        await wire.begin(SSE)
        await wire.send(stream(*(begins if first else []), *STORY[first : self._count]))
        wire.close()

    def _task(self, count: int | None = None) -> dict[str, Any]:
        """Return the task after so many updates."""
        parts: list[Any] = []
        now: dict[str, Any] = {}
        for update in STORY[: self._count if count is None else count]:
            if "artifactUpdate" in update:
                parts += update["artifactUpdate"]["artifact"]["parts"]
            else:
                now = (update.get("task") or update["statusUpdate"])["status"]
        found = {"id": "t", "contextId": "c", "status": now}
        return {"task": found | {"artifacts": [{"artifactId": "a", "parts": parts}] if parts else []}}


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("told", ["task", "everything", "next"])
async def test_what_another_server_tells_again_is_told_once(told: str, at_once: int) -> None:
    async with served(Foreign(told, at_once), **A2A) as (runs, made):
        ended = await runs.run(PAYLOAD)
    assert "".join(ended.tokens) == "I have it"
    assert ended.output == [1, 2]
    said = [each["message"] for each in ended.own if each["type"] == "progress"]
    assert said == ["on the scales", "in the van"][: len(said)]
    if told != "next":
        assert len(said) == 2
    assert [each["url"] for each in ended.own if each["type"] == "custom:file"] == [FILE["url"]]
    assert ("GetTask" in methods(made)) == (told == "next")


async def run_with(*later: Handler, first: bytes = b"", **spec: Any) -> tuple[Ended, list[str]]:
    """Run against a server that begins a task, and handles what follows as said, the last way for ever.

    Returns:
        The run, and the methods of the requests.
    """
    handlers = itertools.chain(later, itertools.repeat(later[-1]))

    async def handle(request: ReceivedRequest, wire: Wire) -> None:
        if request.json["method"] == "CancelTask":
            await wire.whole(JSON, json.dumps(response(result={})).encode())
        elif len(made.requests) == 1:
            await sends(stream(task("WORKING", {"text": "a"})) + first)(request, wire)
        else:
            await next(handlers)(request, wire)

    async with served(handle, **(A2A | spec)) as (runs, made):
        return await runs.run(PAYLOAD), methods(made)


def sends(data: bytes, content_type: str = SSE, status_line: str = "200 OK") -> Handler:
    async def handle(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(content_type, status_line)
        await wire.send(data)
        wire.close()

    return handle


def says(**fields: Any) -> Handler:
    return sends(json.dumps(response(**fields)).encode(), JSON)


async def resets(_request: ReceivedRequest, wire: Wire) -> None:
    wire.reset()


DONE: dict[str, Any] = task("COMPLETED", {"text": "abc"})["task"]
REST = sends(stream(task("WORKING", {"text": "ab"}), status("COMPLETED")))


@pytest.mark.parametrize(
    "later",
    [resets, sends(b""), sends(stream(task("WORKING", {"text": "a"}))), sends(b"", status_line="503 Later")],
    ids=["resets", "empty", "nothing new", "unavailable"],
)
async def test_a_server_that_is_lost_for_ever_is_given_up(later: Handler) -> None:
    ended, asked = await run_with(later)
    assert ended.code in ("AGENT_DISCONNECTED", "AGENT_EXECUTION_ERROR")
    assert ended.tokens == ["a"]
    assert len(asked) == 1 + reconnecting.MAX_ATTEMPTS + 1
    assert asked[-1] == "CancelTask"


@pytest.mark.parametrize("code", [-32601, -32004, -32001])
async def test_a_task_that_cannot_be_subscribed_to_is_looked_at(code: int) -> None:
    working = {**DONE, "status": {"state": "TASK_STATE_WORKING"}, "artifacts": []}
    refused = says(error={"code": code, "message": "no"})
    ended, asked = await run_with(refused, says(result=working), says(result=DONE))
    assert (ended.tokens, ended.output) == (["a", "bc"], "abc")
    assert asked[1:] == ["SubscribeToTask", "GetTask", "GetTask"]


async def test_a_task_that_is_unknown_is_an_error() -> None:
    ended, asked = await run_with(says(error={"code": -32001, "message": "no such task"}))
    assert ended.error == "no such task"
    assert asked[1:] == ["SubscribeToTask", "GetTask"]


async def test_another_task_is_a_protocol_error() -> None:
    ended, asked = await run_with(sends(stream({"task": {**DONE, "id": "u"}})))
    assert (ended.code, ended.error) == (
        "AGENT_PROTOCOL_ERROR",
        "the agent's server sent an update of another task",
    )
    assert asked[-1] == "CancelTask"


async def test_a_dockrion_that_goes_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    away = frame(response(error={"code": -32603, "message": "bye", "data": {"code": "DRAINING"}}))
    ended, asked = await run_with(sends(b"", status_line="502 Bad Gateway"), REST, first=away)
    assert (ended.tokens, ended.output) == (["a", "b"], "ab")
    assert asked[1:] == ["SubscribeToTask"] * 2
    lost = [record.__dict__["fields"]["reason"] for record in caplog.records if "lost" in record.message]
    assert lost[0] == "the agent's server is shutting down"  # whatever it says about that, and how long


async def test_a_server_that_does_not_stream_asks_again() -> None:
    async def handle(request: ReceivedRequest, wire: Wire) -> None:
        asked = status("INPUT_REQUIRED", f"Question {len(made.requests)}?")["statusUpdate"]["status"]
        done = len(made.requests) > 2
        await says(result={"task": DONE if done else {**DONE, "status": asked}})(request, wire)

    async with served(handle, **A2A) as (runs, made):
        run_id = await runs.start(PAYLOAD)
        for number in (1, 2):
            await answer(runs, run_id, "yes", f"Question {number}?")
        assert (await runs.ended(run_id)).output == "abc"
    assert methods(made) == ["SendStreamingMessage"] * 3


async def test_a_cancel_ends_the_wait_for_the_next_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY", 60.0)

    async def begins(request: ReceivedRequest, wire: Wire) -> None:
        cancelling = request.json["method"] == "CancelTask"
        await (says(result={}) if cancelling else sends(stream(task("WORKING", {"text": "a"}))))(
            request, wire
        )

    async with served(begins, **A2A) as (runs, made):
        run_id = await runs.start(PAYLOAD)
        await runs.emitted(run_id, 2)
        await wait_until(lambda: made.open == 0)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert methods(made) == ["SendStreamingMessage", "CancelTask"]


@pytest.mark.parametrize("frame_id", [b"7", b"\x01", b" 7", b"\xc3\xa9", b"x" * 257], ids=repr)
async def test_only_ids_that_fit_in_a_header_are_sent_back(frame_id: bytes) -> None:
    async def tell(request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        if request.json["method"] == "SubscribeToTask":
            await wire.send(stream(task("COMPLETED")))
        else:
            await wire.send(b"id: " + frame_id + b"\n" + stream(task()))
        wire.close()

    async with served(tell, **A2A) as (runs, made):
        assert (await runs.run(PAYLOAD)).output is None
    assert made.requests[1].headers.get("last-event-id") == ("7" if frame_id == b"7" else None)


async def test_a_frame_without_an_id_leaves_none_to_go_on_from() -> None:
    async def tell(request: ReceivedRequest, wire: Wire) -> None:
        begins = request.json["method"] != "SubscribeToTask"
        told = b"id: 7\n" + stream(task(), artifact({"text": "a"})) if begins else b""
        await sends(told or stream(task("COMPLETED", {"text": "ab"})))(request, wire)

    async with served(tell, **A2A) as (runs, made):
        assert (await runs.run(PAYLOAD)).tokens == ["a", "b"]
    assert "last-event-id" not in made.requests[1].headers
