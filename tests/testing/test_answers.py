"""Questions of an agent in a test: `answers`, and `respond` of a recorded run."""

from collections.abc import Callable
from typing import Any

import pytest

from dockrion import InputTimeout, StreamContext
from dockrion.errors import Conflict, InvalidRequest
from dockrion.events import InputReceived, InputRequested
from dockrion.testing import RecordingContext, record

YES_OR_NO = {"type": "boolean"}


async def agent(_payload: Any, context: StreamContext) -> Any:
    name = await context.ask("Who?")
    return [name, await context.ask("Send it?", YES_OR_NO)]


def sync_agent(_payload: Any, context: StreamContext) -> Any:
    name = context.sync_ask("Who?")
    return [name, context.sync_ask("Send it?", YES_OR_NO)]


GIVEN = {"Who?": ("Ada", 1), "Send it?": True}
ANSWERS = [GIVEN, GIVEN.__getitem__]


@pytest.mark.parametrize("answers", ANSWERS, ids=["mapping", "function"])
@pytest.mark.parametrize("asking", [agent, sync_agent])
@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_questions_of_a_run_are_answered(asking: Any, answers: Any, allowed: str) -> None:
    async with record(asking, answers=answers, allowed_events=allowed) as run:
        assert run.output == [["Ada", 1], True]
        assert run.waiting_for is None
        seen = [event.type for event in run.events if event.type.startswith("input_")]
        assert seen == (["input_requested", "input_received"] * 2 if allowed == "all" else [])


@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_the_block_is_entered_at_a_question_without_an_answer(allowed: str) -> None:
    async with record(agent, answers={"Who?": "Ada"}, allowed_events=allowed) as run:
        assert not run.ended
        assert run.waiting_for is not None
        assert (run.waiting_for.prompt, run.waiting_for.schema) == ("Send it?", YES_OR_NO)
        with pytest.raises(InvalidRequest) as refused:
            await run.respond("maybe")
        assert refused.value.details
        (note,) = refused.value.__notes__
        assert note.startswith("'Send it?' was answered 'maybe': [")
        assert 'is not of type "boolean"' in note
        await run.respond(False)
        assert run.output == ["Ada", False]
        with pytest.raises(RuntimeError, match="waits for no answer"):
            await run.respond(False)


async def test_respond_goes_on_to_the_next_question_and_leaving_cancels() -> None:
    async with record(agent) as run:
        await run.respond("Ada")
        assert run.waiting_for is not None
        assert run.waiting_for.prompt == "Send it?"
    assert [event.type for event in run.events][-2:] == ["input_requested", "cancelled"]


async def test_a_question_may_expire() -> None:
    async def impatient(_payload: Any, context: StreamContext) -> str:
        try:
            return str(await context.ask("Who?", timeout=0.01))
        except InputTimeout:
            return "nobody"

    async with record(impatient) as run:
        await run.wait()  # the block may be entered at the question
        assert run.output == "nobody"
        assert run.waiting_for is None


async def test_an_answer_that_comes_too_late_is_refused() -> None:
    async with record(agent) as run:
        question = run.waiting_for
        await run.cancel()
        run.waiting_for = question
        with pytest.raises(Conflict):
            await run.respond("Ada")


async def both_ways(context: StreamContext) -> list[Any]:
    return [await agent(None, context), sync_agent(None, context)]


@pytest.mark.parametrize("answers", ANSWERS, ids=["mapping", "function"])
async def test_a_recording_context_answers_at_once(answers: Any) -> None:
    context = RecordingContext(answers=answers)
    assert await both_ways(context) == [[["Ada", 1], True]] * 2
    assert [event.type for event in context.events] == ["input_requested", "input_received"] * 4
    _, _, asked, received = context.events[:4]
    assert isinstance(asked, InputRequested)
    assert isinstance(received, InputReceived)
    assert (asked.prompt, asked.schema) == ("Send it?", YES_OR_NO)
    assert (received.request_id, received.value) == (asked.request_id, True)


def test_secret_answers_are_in_no_event() -> None:
    context = RecordingContext(answers={"Password?": "hunter2"})
    assert context.sync_ask("Password?", secret=True) == "hunter2"
    assert "hunter2" not in repr(context.events)


def raise_timeout(_prompt: str) -> Any:
    raise InputTimeout("nobody was there")


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        (None, LookupError, "no answer to 'Send it[?]'.*`answers`"),
        ({"Send it?": "maybe"}, ValueError, "the answer to 'Send it[?]': .*boolean"),
        (raise_timeout, InputTimeout, "nobody"),
    ],
)
def test_an_answer_that_cannot_be_given_raises_in_the_agent(
    answers: Callable[[str], Any] | None, error: type[Exception], message: str
) -> None:
    context = RecordingContext(answers=answers)
    with pytest.raises(error, match=message):
        context.sync_ask("Send it?", YES_OR_NO)
    assert [event.type for event in context.events] == ["input_requested"]
