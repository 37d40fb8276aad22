"""Agent processes that ask: in their response or by pushing, and how they get the answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dockrion.agents import answer_delivery
from dockrion.errors import Conflict, InvalidRequest, NotFound, QuestionGone
from dockrion.runs.agent import Call
from dockrion.runs.ingest import Batch, Receipt
from tests.agents.harness import Bench
from tests.agents.processes import (
    NDJSON,
    Process,
    ReceivedRequest,
    Wire,
    process,
    pusher,
    run_with_response,
    served,
    start_with_events_url,
)
from tests.runs.test_asking import session_of, waiting
from tests.support import TIMEOUT_SECONDS, wait_until

ASKED: dict[str, Any] = {
    "type": "input_requested",
    "request_id": "q1",
    "prompt": "Send it?",
    "schema": {"type": "boolean"},
}
END: dict[str, Any] = {"type": "complete", "output": "done"}


class Taking:
    """What receives the answers of an agent process."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.answers: list[Any] = []

    async def __call__(self, request: ReceivedRequest, wire: Wire) -> None:
        self.answers.append((msgspec.json.decode(request.body), request.headers["x-dockrion-run-id"]))
        await wire.whole(None, status=self.statuses.pop(0) if self.statuses else "204 No Content")


def line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event) + b"\n"


class Asking:
    """A process that asks in its response, and ends when it has been answered."""

    def __init__(self, *asked: dict[str, Any]) -> None:
        self.asked = asked or (ASKED,)
        self.go = asyncio.Event()
        self.headers: dict[str, str] = {}

    async def __call__(self, request: ReceivedRequest, wire: Wire) -> None:
        self.headers = request.headers
        await wire.begin(NDJSON)
        for event in self.asked:
            await wire.send(line(event))
        await self.go.wait()
        await wire.send(line(END))
        wire.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_delivery, "_FIRST_DELAY", 0.002)
    monkeypatch.setattr(answer_delivery, "_LONGEST_DELAY", 0.01)


@asynccontextmanager
async def asking(taking: Taking, agent: Asking, **spec: Any) -> AsyncIterator[Bench]:
    async with process(taking) as made, served(agent, input_url=made.url, **spec) as (runs, _):
        yield runs


async def test_an_answer_is_posted_to_the_process() -> None:
    taking, agent = Taking(), Asking()
    async with asking(taking, agent) as runs:
        run_id = await runs.start()
        question = await waiting(runs, run_id)
        assert (question.request_id, question.prompt, question.schema) == ("q1", "Send it?", ASKED["schema"])
        with pytest.raises(InvalidRequest):
            await session_of(runs, run_id).answer("q1", "yes", "ann")
        await session_of(runs, run_id).answer("q1", value=True, source="ann")
        await wait_until(lambda: taking.answers)
        agent.go.set()
        ended = await runs.ended(run_id)
    assert taking.answers == [({"run_id": run_id, "request_id": "q1", "value": True}, run_id)]
    assert ended.types == ["started", "input_requested", "input_received", "complete"]


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow Down", "302 Found"])
async def test_a_process_that_fails_gets_the_answer_again(status: str) -> None:
    taking, agent = Taking(*[status] * 3), Asking()
    async with asking(taking, agent) as runs:
        run_id = await runs.start()
        await waiting(runs, run_id)
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        await wait_until(lambda: len(taking.answers) == 4)
        agent.go.set()
        await runs.ended(run_id)
    assert taking.answers == taking.answers[:1] * 4


@pytest.mark.parametrize(("status", "attempts"), [("500 Oops", 8), ("404 Not Found", 1), ("409 Conflict", 1)])
async def test_delivering_an_answer_ends_and_says_so_without_the_answer(
    status: str, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    taking, agent = Taking(*[status] * 20), Asking({**ASKED, "schema": None, "secret": True})
    async with asking(taking, agent) as runs:
        run_id = await runs.start()
        await waiting(runs, run_id)
        await session_of(runs, run_id).answer("q1", "hunter2", None)
        await wait_until(lambda: "answer not delivered" in caplog.text)
        assert len(taking.answers) == attempts
        agent.go.set()
        ended = await runs.ended(run_id)
    assert ended.run.status == "completed"
    assert "hunter2" not in caplog.text + repr(ended)


async def test_a_run_that_ends_stops_delivering() -> None:
    delivering = asyncio.Event()

    async def hangs(_request: ReceivedRequest, wire: Wire) -> None:
        delivering.set()
        await wire.disconnected()

    agent = Asking()
    async with process(hangs) as made, served(agent, input_url=made.url) as (runs, _):
        run_id = await runs.start()
        await waiting(runs, run_id)
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        await delivering.wait()
        agent.go.set()
        assert (await runs.ended(run_id)).output == "done"
        await wait_until(lambda: made.open == 0)


async def test_an_expired_question_is_not_delivered() -> None:
    taking, agent = Taking(), Asking({**ASKED, "timeout": 0.02})
    async with asking(taking, agent) as runs:
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (await runs.backend.get(run_id)).waiting_for is not None:
                await asyncio.sleep(0.005)
        agent.go.set()
        ended = await runs.ended(run_id)
    assert ended.types == ["started", "input_requested", "complete"]
    assert taking.answers == []


async def test_waiting_for_a_person_is_not_idle_time() -> None:
    taking, agent = Taking(), Asking()
    async with asking(taking, agent, read_timeout=0.2) as runs:
        run_id = await runs.start()
        await waiting(runs, run_id)
        await asyncio.sleep(0.4)
        assert await runs.status(run_id) == "running"
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        ended = await runs.ended(run_id)  # the process does nothing with it
    assert ended.code == "TIMEOUT_ERROR"


async def test_the_process_gets_where_to_fetch_answers_if_it_may_push() -> None:
    for ingest, expected in ((10, True), (None, False)):
        agent = Asking()
        agent.go.set()
        async with served(agent, ingest=ingest) as (runs, _):
            call = Call(None, events_url="http://dockrion.test/runs/r/events/token")
            await runs.ended((await runs.runs.start(call, "r")).run_id)
        url = agent.headers.get("x-dockrion-input-url")
        assert (url is not None) == expected
        if url is not None:
            assert url == "http://dockrion.test/runs/r/input/token"


WRONG: list[dict[str, Any]] = [
    {"request_id": None},
    {"request_id": 3},
    {"request_id": ""},
    {"request_id": "a/b"},
    {"request_id": "x" * 200},
    {"prompt": None},
    {"schema": {"type": "bool"}},
    {"schema": {"$ref": "http://127.0.0.1:1/"}},
    {"schema": 3},
    {"timeout": 0},
    {"timeout": "x"},
    {"secret": "yes"},
    {"expires_at": "2001-01-01T00:00:00Z"},
    {"expires_at": "soon"},
    {"expires_at": "2099-01-01T00:00:00Z", "timeout": 3},
    {"surprise": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_a_wrong_question_is_a_protocol_error_or_a_refused_push(wrong: dict[str, Any]) -> None:
    event = ASKED | wrong
    ended = await run_with_response(NDJSON, line(event) + line(END))
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert ended.types == ["started", "error"]
    async with pushed() as (runs, run_id, push):
        with pytest.raises(InvalidRequest):
            await push({"type": "token", "content": "x"}, event)
        await push(END)
        assert (await runs.ended(run_id)).types == ["started", "complete"]


async def test_an_invocation_of_a_process_that_asks_fails() -> None:
    async with served(Asking()) as (runs, _):
        with pytest.raises(Exception, match="plain invocations"):
            await runs.invoke()


@asynccontextmanager
async def pushed(idle_timeout: float = 10) -> AsyncIterator[tuple[Bench, str, Callable[..., Any]]]:
    """Start a run whose events are pushed."""

    async def accept(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole(None, status="202 Accepted")

    made: Process
    async with served(accept, ingest=idle_timeout) as (runs, made), pusher(runs) as pushing:
        run_id = await start_with_events_url(runs)
        await wait_until(lambda: made.posts)

        async def push(*events: Any, seq: int | None = None) -> Receipt:
            batch = Batch(list(events), seq)
            return await pushing.ingest.push(run_id, batch, len(msgspec.json.encode(events)))

        yield runs, run_id, push


async def test_a_pushed_question_keeps_its_place_among_the_events() -> None:
    token = {"type": "token", "content": "t"}
    async with pushed() as (runs, run_id, push):
        assert await push(token, ASKED, token, {**ASKED, "request_id": "q2"}, token) == Receipt(5)
        assert (await waiting(runs, run_id)).request_id == "q1"
        await session_of(runs, run_id).answer("q2", value=False, source=None)
        questions = session_of(runs, run_id).process_questions
        assert await questions.fetch("q2", 0) is False
        assert await questions.fetch("q1", 0) is msgspec.UNSET
        fetching = asyncio.create_task(questions.fetch("q1", TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        assert await fetching is True
        assert await questions.fetch("q1", 0) is True  # as often as it is asked for
        with pytest.raises(NotFound):
            await questions.fetch("q3", 0)
        await push(END)
        ended = await runs.ended(run_id)
    assert ended.types[1:-1] == [
        *("token", "input_requested", "token", "input_requested", "token"),
        *("input_received", "input_received"),
    ]


async def test_waiting_for_a_person_is_no_time_without_pushed_events() -> None:
    async with pushed(0.2) as (runs, run_id, push):
        await push(ASKED)
        await asyncio.sleep(0.4)
        assert await runs.status(run_id) == "running"
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        assert (await runs.ended(run_id)).code == "PRODUCER_TIMEOUT"


async def test_a_question_is_asked_once() -> None:
    async with pushed() as (runs, run_id, push):
        assert await push(ASKED, seq=1) == Receipt(1)
        assert await push(ASKED, seq=1) == Receipt(0, duplicate=True)
        with pytest.raises(Conflict):
            await push({"type": "token", "content": "x"}, ASKED, seq=2)
        with pytest.raises(Conflict):
            await push(*[{**ASKED, "request_id": "q2"}] * 2, seq=2)
        with pytest.raises(Conflict):
            await push(*[{**ASKED, "request_id": f"q{n}"} for n in range(2, 102)], seq=2)
        await push(END, seq=2)
        assert (await runs.ended(run_id)).types == ["started", "input_requested", "complete"]


async def test_an_expired_question_has_no_answer() -> None:
    async with pushed() as (runs, run_id, push):
        until = datetime.now(UTC) + timedelta(seconds=0.05)
        await push({**ASKED, "expires_at": until.isoformat()})
        with pytest.raises(QuestionGone):
            await session_of(runs, run_id).process_questions.fetch("q1", TIMEOUT_SECONDS)
        await push(END)
        await runs.ended(run_id)


@pytest.mark.parametrize("secret", [False, True])
async def test_an_answer_that_the_process_got_elsewhere_closes_the_question(secret: bool) -> None:
    received = {"type": "input_received", "request_id": "q1", "value": "sesame"}
    async with pushed() as (runs, run_id, push):
        asked = {**ASKED, "schema": {"type": "string", "writeOnly": secret}}
        await push(asked, {"type": "input_received", "request_id": "nobody", "value": 1})
        await push(received, received)
        with pytest.raises(Conflict):
            await session_of(runs, run_id).answer("q1", "other", None)
        await push(END)
        ended = await runs.ended(run_id)
    assert ended.types == ["started", "input_requested", "input_received", "complete"]
    assert ("value" in ended.own[-1]) is not secret
    assert ("sesame" in repr(ended.events)) is not secret


async def test_only_the_newest_answers_are_kept() -> None:
    async with pushed() as (runs, run_id, push):
        session = session_of(runs, run_id)
        for number in range(105):
            await push({**ASKED, "request_id": f"q{number}"})
            await session.answer(f"q{number}", value=True, source=None)
        assert len(session.process_questions._asked) == 100
        with pytest.raises(NotFound):
            await session.process_questions.fetch("q4", 0)
        assert await session.process_questions.fetch("q5", 0) is True
        await push(END)
        await runs.ended(run_id)
