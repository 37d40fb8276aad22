"""Agent processes that ask: in their response or by pushing, and how they get the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dockrion.agents import answer_delivery
from dockrion.caller import CallerRequest
from dockrion.errors import InvalidRequest
from dockrion.runs.agent import Call
from tests.agents.asking_process import ASKED, Asking
from tests.agents.harness import Bench
from tests.agents.processes import (
    ReceivedRequest,
    Wire,
    process,
    served,
)
from tests.loop_clock import advance
from tests.runs.asking import session_of, waiting
from tests.support import TIMEOUT_SECONDS, wait_until


class Taking:
    """What receives the answers of an agent process."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.answers: list[Any] = []
        self.headers: list[Any] = []

    async def __call__(self, request: ReceivedRequest, wire: Wire) -> None:
        self.answers.append((msgspec.json.decode(request.body), request.headers["x-dockrion-run-id"]))
        self.headers.append(request.headers)
        await wire.whole(None, status=self.statuses.pop(0) if self.statuses else "204 No Content")


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
        run_id = await runs.start(request=CallerRequest("00-trace", request_id="req-1"))
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
    assert [taking.headers[0][name] for name in ("traceparent", "x-request-id")] == ["00-trace", "req-1"]


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
    async with asking(taking, agent, read_timeout=5) as runs:
        run_id = await runs.start()
        await waiting(runs, run_id)
        for _ in range(3):
            await advance(5)
        assert await runs.status(run_id) == "running"
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        await advance(5)
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


async def test_an_invocation_of_a_process_that_asks_fails() -> None:
    async with served(Asking()) as (runs, _):
        with pytest.raises(Exception, match="started or streamed"):
            await runs.invoke()
