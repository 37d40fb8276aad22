"""Agents that ask: what they get, and what readers see."""

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from dockrion import InputTimeout, StreamContext
from dockrion.errors import InvalidRequest, QuestionNotOpen
from dockrion.runs.question import Question
from dockrion.runs.session import current_session
from tests.agents.harness import bench
from tests.backends.publishing import GatedBackend
from tests.runs.asking import (
    BOOLEAN,
    Ask,
    answer,
    everywhere,
    session_of,
    waiting,
)
from tests.support import wait_until


@everywhere
async def test_an_answer_is_returned_and_seen(ask: Ask) -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await ask(context, "Send it?", {"type": "object", "required": ["ok"]})

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        run = await made.backend.get(run_id)
        assert run.status == "running"
        await answer(made, run_id, {"ok": True})
        ended = await made.ended(run_id)
    asked, received = ended.own
    assert asked == {
        "type": "input_requested",
        "request_id": question.request_id,
        "prompt": "Send it?",
        "schema": {"type": "object", "required": ["ok"]},
        "expires_at": question.expires_at.isoformat().replace("+00:00", "Z"),
    }
    assert question.schema == asked["schema"]
    assert received == {
        "type": "input_received",
        "request_id": question.request_id,
        "value": {"ok": True},
        "source": "ann",
    }
    assert ended.output == {"ok": True}
    assert ended.run.waiting_for is None


@pytest.mark.parametrize("allowed", ["minimal", ["input_requested"], ["input_received"]])
async def test_the_record_shows_a_question_whose_events_the_filter_drops(allowed: Any) -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        await context.ask("one?")
        return await context.ask("two?")

    async with bench(agent, allowed=allowed) as made:
        run_id = await made.start()
        await answer(made, run_id, 1, "one?")
        await answer(made, run_id, 2, "two?")
        ended = await made.ended(run_id)
    assert ended.output == 2
    passed = [] if isinstance(allowed, str) else allowed * 2
    assert ended.types == ["started", *passed, "complete"]
    assert ended.run.waiting_for is None


async def test_a_value_that_does_not_match_leaves_the_agent_undisturbed() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("Whom?", {"type": "object", "properties": {"a": BOOLEAN, "b": BOOLEAN}})

    async with bench(agent) as made:
        run_id = await made.start()
        with pytest.raises(InvalidRequest) as refused:
            await answer(made, run_id, {"a": 1, "b": "x"})
        assert sorted(each.path for each in refused.value.details) == ["$.a", "$.b"]
        await answer(made, run_id, {"a": True})
        ended = await made.ended(run_id)
    assert ended.output == {"a": True}
    assert ended.types == ["started", "input_requested", "input_received", "complete"]


async def test_of_concurrent_answers_one_is_accepted() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("Which?")

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        session = session_of(made, run_id)
        answers = [session.answer(question.request_id, number, None) for number in range(20)]
        results = await asyncio.gather(*answers, return_exceptions=True)
        ended = await made.ended(run_id)
    accepted = [number for number, result in enumerate(results) if result is None]
    assert [type(result) for result in results if result is not None] == [QuestionNotOpen] * 19
    assert [ended.output] == accepted
    assert ended.types.count("input_received") == 1


async def test_several_questions_at_once_are_answered_in_any_order() -> None:
    async def agent(_payload: Any) -> Any:
        session = current_session()
        assert session is not None
        return await session.ask_all([Question(prompt) for prompt in "abc"])

    async with bench(agent) as made:
        run_id = await made.start()
        assert (await waiting(made, run_id)).prompt == "a"
        session = session_of(made, run_id)
        asked = session.asking.questions
        assert asked is not None
        for prompt, oldest in (("b", "a"), ("a", "c"), ("c", None)):
            (request_id,) = [key for key, each in asked._open.items() if each.shown.prompt == prompt]
            await session.answer(request_id, prompt.upper(), None)
            if oldest is not None:
                await waiting(made, run_id, oldest)
        ended = await made.ended(run_id)
    assert ended.output == ["A", "B", "C"]
    assert [event["prompt"] for event in ended.own if "prompt" in event] == ["a", "b", "c"]


async def test_the_answer_to_a_secret_question_is_seen_nowhere() -> None:
    schema = {"type": "object", "properties": {"pin": {"minLength": 12}}, "additionalProperties": BOOLEAN}

    async def agent(_payload: Any, context: StreamContext) -> int:
        answer = await context.ask("PIN?", schema, secret=True)
        return len(answer["pin"])

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        assert question.schema == {**schema, "writeOnly": True}
        with pytest.raises(InvalidRequest) as refused:
            await answer(made, run_id, {"pin": "hunter2", "hunter2": "hunter2"})
        assert "hunter2" not in repr(refused.value.details)
        assert len(refused.value.details) == 2
        assert {each.path for each in refused.value.details} == {"$"}
        assert "properties.pin.minLength" in repr(refused.value.details)
        await answer(made, run_id, {"pin": "hunter2hunter2"})
        ended = await made.ended(run_id)
    assert ended.output == 14
    assert "hunter2" not in repr((ended.events, ended.run))
    assert ended.own[-1] == {
        "type": "input_received", "request_id": question.request_id, "source": "ann",
    }  # fmt: skip


async def test_exceptions_with_the_answer_to_a_secret_question_do_not_show_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        key = await context.ask("Key?", secret=True)
        with suppress(ValueError):
            async with context.tool("search"):
                raise ValueError(f"no index at https://example.com/?key={key}")
        raise PermissionError(f"{key!r} was refused")

    async with bench(agent) as made:
        run_id = await made.start()
        await answer(made, run_id, "hunter2hunter2")
        ended = await made.ended(run_id)
    assert ended.error == "PermissionError: '***' was refused"
    (result,) = [each["result"] for each in ended.own if each["type"] == "tool_result"]
    assert result == "ValueError: no index at https://example.com/?key=***"
    logged = [vars(record) for record in caplog.records]
    assert "PermissionError: '***' was refused" in repr(logged)
    assert "hunter2" not in repr((ended.events, ended.run, logged))


async def test_the_words_true_and_false_are_not_masked_after_a_secret_decision() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        raise ValueError(f"True or False: {await context.ask('Now?', secret=True)}")

    async with bench(agent) as made:
        run_id = await made.start()
        await answer(made, run_id, [True, 12345])
        assert (await made.ended(run_id)).error == "ValueError: True or False: [True, ***]"


async def test_many_threads_ask_at_once() -> None:
    answers: list[Any] = []

    def agent(_payload: Any, context: StreamContext) -> Any:
        def ask(number: int) -> None:
            answers.append((number, context.sync_ask(str(number))))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(answers)

    async with bench(agent) as made:
        run_id = await made.start()
        for _ in range(20):
            question = await waiting(made, run_id)
            await session_of(made, run_id).answer(question.request_id, int(question.prompt), None)
            await wait_until(partial(answers.__contains__, (int(question.prompt),) * 2))
        assert (await made.ended(run_id)).output == [[number, number] for number in range(20)]


async def test_questions_and_answers_wait_for_a_storage_that_is_away() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        with pytest.raises(InputTimeout):
            await context.ask("Now?", timeout=0.02)
        return await context.ask("Then?")

    backend = GatedBackend()
    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        backend.gate.clear()
        backend.failures = 3
        session = session_of(made, run_id)

        def prompts() -> list[str]:
            asked = session.asking.questions
            return [] if asked is None else [each.shown.prompt for each in asked._open.values()]

        await wait_until(lambda: prompts() == ["Then?"])
        assert session.asking.questions is not None
        (request_id,) = session.asking.questions._open
        await session.answer(request_id, 2, None)
        backend.gate.set()
        ended = await made.ended(run_id)
    assert ended.output == 2
    assert ended.types == ["started", *["input_requested"] * 2, "input_received", "complete"]
    assert ended.run.waiting_for is None
