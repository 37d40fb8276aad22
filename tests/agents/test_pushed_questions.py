"""Questions that an agent process pushes, and what becomes of their answers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dockrion.errors import Conflict, InvalidRequest, NotFound, QuestionGone
from dockrion.runs.ingest import Receipt
from tests.agents.asking_process import ASKED, END, line, pushed
from tests.agents.processes import (
    NDJSON,
    run_with_response,
)
from tests.loop_clock import advance
from tests.runs.asking import session_of, waiting
from tests.support import TIMEOUT_SECONDS

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


async def test_a_pushed_question_keeps_its_place_among_the_events() -> None:
    token = {"type": "token", "content": "t"}
    async with pushed() as (runs, run_id, push):
        assert await push(token, ASKED, token, {**ASKED, "request_id": "q2"}, token) == Receipt(5)
        assert (await waiting(runs, run_id)).request_id == "q1"
        await session_of(runs, run_id).answer("q2", value=False, source=None)
        questions = session_of(runs, run_id).from_process.questions
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
    async with pushed(5) as (runs, run_id, push):
        await push(ASKED)
        for _ in range(3):
            await advance(5)
        assert await runs.status(run_id) == "running"
        await session_of(runs, run_id).answer("q1", value=True, source=None)
        await advance(5)
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
        until = datetime.now(UTC) + timedelta(seconds=5)
        await push({**ASKED, "expires_at": until.isoformat()})
        questions = session_of(runs, run_id).from_process.questions
        fetching = asyncio.create_task(questions.fetch("q1", 3 * TIMEOUT_SECONDS))
        await advance(5)
        with pytest.raises(QuestionGone):
            await fetching
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
        assert len(session.from_process.questions._asked) == 100
        with pytest.raises(NotFound):
            await session.from_process.questions.fetch("q4", 0)
        assert await session.from_process.questions.fetch("q5", 0) is True
        await push(END)
        await runs.ended(run_id)
