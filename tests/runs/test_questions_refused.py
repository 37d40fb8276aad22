"""Questions that are wrong, too large, or that nobody could answer."""

from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.errors import PayloadTooLarge
from dockrion.runs.open_questions import MAX_OPEN
from dockrion.runs.question import MAX_ANSWER_BYTES, MAX_QUESTION_BYTES, MAX_TIMEOUT, Question
from dockrion.runs.session import current_session
from tests.agents.harness import bench, ran
from tests.runs.asking import BOOLEAN, Ask, answer, in_a_thread, in_async_code, session_of, waiting
from tests.support import TIMEOUT_SECONDS

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prompt": 3}, TypeError, "prompt must be a string"),
    ({"prompt": "x" * MAX_QUESTION_BYTES}, ValueError, "more than the limit"),
    ({"schema": [BOOLEAN]}, TypeError, "schema must be"),
    ({"schema": {"items": {"type": "bool"}}}, ValueError, r"JSON Schema: \$\.items\.type: \"bool\" is not"),
    ({"schema": {"pattern": "("}}, ValueError, "schema"),
    ({"schema": {"$ref": "http://127.0.0.1:1/schema"}}, ValueError, "schema"),
    ({"schema": {"$ref": "file:///etc/passwd"}}, ValueError, "schema"),
    ({"schema": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, ValueError, "refers to itself"),
    ({"schema": {"enum": ["x" * MAX_QUESTION_BYTES]}}, ValueError, "more than the limit"),
    ({"schema": {"const": object()}}, TypeError, "schema"),
    ({"timeout": 0}, ValueError, "timeout"),
    ({"timeout": -1}, ValueError, "timeout"),
    ({"timeout": float("nan")}, ValueError, "timeout"),
    ({"timeout": float("inf")}, ValueError, "timeout"),
    ({"timeout": MAX_TIMEOUT + 1}, ValueError, "timeout"),
    ({"timeout": "5"}, TypeError, "timeout"),
    ({"timeout": True}, TypeError, "timeout"),
]


@pytest.mark.parametrize(
    ("wrong", "kind", "message"), WRONG, ids=[f"{number}-{each[2]}" for number, each in enumerate(WRONG)]
)
async def test_a_wrong_question_raises_in_the_agent_and_is_not_asked(
    wrong: dict[str, Any], kind: type[Exception], message: str
) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        with pytest.raises(kind, match=message):
            await context.ask(**{"prompt": "?"} | wrong)

    ended = await ran(agent)
    assert ended.types == ["started", "complete"]


async def test_one_wrong_question_of_several_asks_none() -> None:
    async def agent(_payload: Any) -> None:
        session = current_session()
        assert session is not None
        with pytest.raises(ValueError, match="schema"):
            await session.ask_all([Question("a"), Question("b", {"type": "bool"})])
        with pytest.raises(RuntimeError, match=str(MAX_OPEN)):
            await session.ask_all([Question("a")] * (MAX_OPEN + 1))

    assert (await ran(agent)).types == ["started", "complete"]


async def test_a_schema_whose_references_expand_without_bound_is_cheap_to_refuse() -> None:
    definitions: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(80)}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions | {"d80": {"type": "string"}}}

    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("?", schema, timeout=TIMEOUT_SECONDS)

    async with bench(agent) as made:
        run_id = await made.start()
        with pytest.raises(PayloadTooLarge):
            await answer(made, run_id, "x")
        await made.runs.cancel(run_id, None)


@pytest.mark.parametrize("schema", [None, {"type": "string"}])
async def test_a_large_answer_is_refused(schema: Any) -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return len(await context.ask("?", schema))

    async with bench(agent) as made:
        run_id = await made.start()
        with pytest.raises(PayloadTooLarge):
            await answer(made, run_id, "x" * MAX_ANSWER_BYTES)
        await answer(made, run_id, "x" * (MAX_ANSWER_BYTES - 2))
        assert (await made.ended(run_id)).output == MAX_ANSWER_BYTES - 2


async def test_sync_ask_on_the_event_loop_is_a_clear_error() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        with pytest.raises(RuntimeError, match=r"await context\.ask"):
            context.sync_ask("?")

    assert (await ran(agent)).run.status == "completed"


@pytest.mark.parametrize("ask", [in_async_code, in_a_thread])
async def test_an_invocation_cannot_ask(ask: Ask) -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        with pytest.raises(RuntimeError, match="started or streamed"):
            await ask(context, "?")
        return "went on"

    async with bench(agent) as made:
        assert await made.invoke() == "went on"


async def test_a_yielded_question_is_refused_since_nobody_could_get_the_answer() -> None:
    async def agent(_payload: Any) -> Any:
        yield {"type": "input_requested", "request_id": "q", "prompt": "?"}

    assert "context.ask" in (await ran(agent)).error


@pytest.mark.parametrize("secret", [False, True])
async def test_an_event_over_the_limit_changes_nothing(secret: bool) -> None:
    run_id = "r" * 128

    async def agent(_payload: Any, context: StreamContext) -> Any:
        with pytest.raises(ValueError, match="bytes"):
            await context.ask("x" * 1600)
        session = current_session()
        assert session is not None
        assert not session.asking.questions
        return await context.ask("?", secret=secret, timeout=TIMEOUT_SECONDS)

    async with bench(agent, max_event_bytes=2048) as made:
        await made.start(run_id=run_id)
        question = await waiting(made, run_id, "?")
        session = session_of(made, run_id)
        for value, source in (("x" * 1700, None), ("x", "s" * 4000)):
            if secret and source is None:
                continue  # in no event
            with pytest.raises(PayloadTooLarge):
                await session.answer(question.request_id, value, source)
        await session.answer(question.request_id, "yes", "ann")
        assert (await made.ended(run_id)).output == "yes"


async def test_an_answer_that_would_take_long_to_match_a_pattern_is_refused() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("?", {"pattern": "(a{1,1000}){1,100}b"})

    async with bench(agent) as made:
        run_id = await made.start()
        with pytest.raises(PayloadTooLarge):
            await answer(made, run_id, "a" * 3000)
        await answer(made, run_id, "aaab")
        assert (await made.ended(run_id)).output == "aaab"
