"""Agents that ask: what they get, what readers see, and how each question ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dockrion import InputTimeout, RunCancelled, StreamContext
from dockrion.backends.run_log import Run, WaitingFor
from dockrion.errors import InvalidRequest, PayloadTooLarge, QuestionNotOpen
from dockrion.events import EventFilter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.open_questions import MAX_OPEN, OpenQuestions
from dockrion.runs.question import MAX_ANSWER_BYTES, MAX_QUESTION_BYTES, MAX_TIMEOUT, Question
from dockrion.runs.session import RunSession, current_session
from tests.agents.harness import Bench, bench, cancelled, nothing_unretrieved, ran
from tests.backends.publishing import GatedBackend
from tests.support import TIMEOUT_SECONDS, wait_until

BOOLEAN = {"type": "boolean"}


async def waiting(made: Bench, run_id: str, prompt: str | None = None) -> WaitingFor:
    """Wait until a run waits for the answer to a question, and return that."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            found = (await made.backend.get(run_id)).waiting_for
            if found is not None and prompt in (None, found.prompt):
                return found
            await asyncio.sleep(0.001)


def session_of(made: Bench, run_id: str) -> RunSession:
    run = made.runs.find(run_id)
    assert run is not None
    assert run.session is not None
    return run.session


async def answer(made: Bench, run_id: str, value: Any, prompt: str | None = None) -> None:
    """Answer the oldest question of a run, once that has this prompt."""
    question = await waiting(made, run_id, prompt)
    await session_of(made, run_id).answer(question.request_id, value, "ann")


async def in_async_code(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await context.ask(*arguments, **more)


async def in_a_thread(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await asyncio.to_thread(context.sync_ask, *arguments, **more)


async def on_another_loop(context: StreamContext, *arguments: Any, **more: Any) -> Any:
    return await asyncio.to_thread(lambda: asyncio.run(context.ask(*arguments, **more)))


everywhere = pytest.mark.parametrize("ask", [in_async_code, in_a_thread, on_another_loop])
Ask = Callable[..., Any]


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


@everywhere
async def test_no_answer_in_time_raises_and_is_not_waited_for(ask: Ask) -> None:
    waits: list[Run] = []

    async def agent(_payload: Any, context: StreamContext) -> Any:
        with pytest.raises(InputTimeout, match=r"within 0\.01 s"):
            await ask(context, "Now?", timeout=0.01)
        await context.emit_token("late")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (run := await made.backend.get(context.run_id)).waiting_for is not None:
                await asyncio.sleep(0.001)
        waits.append(run)
        return await ask(context, "Then?")

    async with bench(agent) as made, nothing_unretrieved():
        run_id = await made.start()
        question = await waiting(made, run_id, "Now?")
        await waiting(made, run_id, "Then?")
        with pytest.raises(QuestionNotOpen):
            await session_of(made, run_id).answer(question.request_id, 1, None)
        await answer(made, run_id, 2)
        ended = await made.ended(run_id)
    assert ended.output == 2
    assert [run.status for run in waits] == ["running"]


async def test_an_answer_in_time_of_some_is_no_answer_to_the_others() -> None:
    async def agent(_payload: Any) -> Any:
        session = current_session()
        assert session is not None
        questions = [Question("a"), Question("b", timeout=0.02), Question("c", timeout=0.02)]
        with pytest.raises(InputTimeout):
            await session.ask_all(questions)
        assert not session.asking.questions

    async with bench(agent) as made, nothing_unretrieved():
        run_id = await made.start()
        await answer(made, run_id, "x", "a")
        assert (await made.ended(run_id)).run.status == "completed"


@everywhere
async def test_a_cancel_ends_the_wait(ask: Ask) -> None:
    ended_with: list[BaseException] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await ask(context, "Go on?")
        except BaseException as error:
            ended_with.append(error)
            raise

    ended = await cancelled(agent)
    assert ended.types == ["started", "input_requested", "cancelled"]
    assert [isinstance(error, asyncio.CancelledError) for error in ended_with] == [True]
    assert ended.run.waiting_for is None


async def test_a_cancelled_sync_handler_gets_the_exception_of_a_stopped_run() -> None:
    ended_with: list[BaseException] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        try:
            context.sync_ask("Go on?")
        except BaseException as error:
            ended_with.append(error)
            raise

    assert (await cancelled(agent)).run.status == "cancelled"
    assert [type(error) for error in ended_with] == [RunCancelled]


async def test_an_agent_may_clean_up_after_a_cancel_but_not_ask() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await context.ask("Go on?")
        finally:
            await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await context.ask("Really?")
            await context.emit_token("cleaned up")

    ended = await cancelled(agent)
    assert ended.tokens == ["cleaned up"]
    assert ended.types.count("input_requested") == 1


async def test_a_shutdown_ends_the_wait() -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        context.sync_ask("Go on?")

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        session = session_of(made, run_id)
        await made.runs.drain(0)
        ended = await made.ended(run_id)
        assert ended.code == "SHUTDOWN"
        assert ended.run.waiting_for is None
        with pytest.raises(QuestionNotOpen):
            await session.answer(question.request_id, 1, None)


async def test_a_task_that_an_agent_left_behind_waits_for_no_answer() -> None:
    left: list[asyncio.Task[Any]] = []

    async def agent(_payload: Any, context: StreamContext) -> str:
        left.append(asyncio.create_task(context.ask("Anybody?")))
        await asyncio.sleep(0)
        return "done"

    ended = await ran(agent)
    assert ended.output == "done"
    await asyncio.wait(left, timeout=TIMEOUT_SECONDS)
    assert left[0].cancelled()


async def test_a_run_over_its_time_is_stopped_while_it_waits() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.ask("Quick?")

    ended = await ran(agent, duration=0.05)
    assert ended.code == "TIMEOUT_ERROR"
    assert ended.run.waiting_for is None


async def test_waiting_longer_than_the_run_may_take_is_cut() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.ask("Slow?", timeout=MAX_TIMEOUT)

    async with bench(agent, duration=30) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        run = await made.backend.get(run_id)
        assert run.started_at is not None
        assert 0 <= (question.expires_at - run.started_at).total_seconds() < 30.5
        await answer(made, run_id, 1)
        await made.ended(run_id)


async def test_waiting_does_not_count_where_the_dockfile_says_so() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await context.ask("Slow?", timeout=TIMEOUT_SECONDS)
        assert loop.time() - began > 0.2
        await asyncio.Event().wait()

    async with bench(agent, duration=0.2, waiting_counts=False) as made:
        run_id = await made.start()
        await waiting(made, run_id)
        await asyncio.sleep(0.25)  # what does not count is time
        assert await made.status(run_id) == "running"
        await answer(made, run_id, 1)
        ended = await made.ended(run_id)
    assert ended.code == "TIMEOUT_ERROR"
    assert "input_received" in ended.types


async def test_a_wait_that_does_not_count_has_the_limit_of_the_run() -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        with pytest.raises(InputTimeout):
            await context.ask("Slow?")
        return "went on"

    assert (await ran(agent, duration=0.1, waiting_counts=False)).output == "went on"


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prompt": 3}, TypeError, "prompt must be a string"),
    ({"prompt": "x" * MAX_QUESTION_BYTES}, ValueError, "more than the limit"),
    ({"schema": [BOOLEAN]}, TypeError, "schema must be"),
    ({"schema": {"type": "bool"}}, ValueError, "schema"),
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


async def test_sync_ask_on_the_event_loop_is_a_clear_error() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        with pytest.raises(RuntimeError, match=r"await context\.ask"):
            context.sync_ask("?")

    assert (await ran(agent)).run.status == "completed"


@pytest.mark.parametrize("ask", [in_async_code, in_a_thread])
async def test_an_invocation_cannot_ask(ask: Ask) -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        with pytest.raises(RuntimeError, match="plain invocations"):
            await ask(context, "?")
        return "went on"

    async with bench(agent) as made:
        assert await made.invoke() == "went on"


async def test_asking_in_the_first_turn_of_a_quick_run_leaves_no_timer_behind() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("?", timeout=TIMEOUT_SECONDS)

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        asked = session_of(made, run_id).asking.questions
        assert asked is not None
        timer = asked._open[question.request_id].timer
        assert timer is not None
        await answer(made, run_id, 1)
        await made.ended(run_id)
        assert timer.cancelled()
        assert not asked._open


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


class Answers(RuleBasedStateMachine):
    """Questions of a run under any interleaving of answers, limits, withdrawals and the end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.results: dict[str, list[Any]] = {}
        self.published: list[tuple[str, str]] = []
        self.record: WaitingFor | None = None
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.buffer = EventBuffer(
            "r", self.loop, lambda: None, lambda _stop: None, max_event_bytes=10_000, max_events=10_000
        )
        self.questions = OpenQuestions(EventFilter(), self.buffer, None)

    def teardown(self) -> None:
        self.questions.end()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _drain(self) -> None:
        """Look at what was published, and at what the record shows after it."""
        self.loop.run_until_complete(asyncio.sleep(0))
        while self.buffer.pending:
            entries, changes = self.buffer.pop_batch()
            self.published += [
                (entry.type, msgspec.json.decode(entry.data)["request_id"]) for entry in entries
            ]
            self.record = changes.get("waiting_for", self.record)

    @rule(number=st.integers(1, 3))
    def ask(self, number: int) -> None:
        first = len(self.results)
        asked = [Question("?", timeout=60, request_id=f"q{first + n}") for n in range(number)]
        for question in self.loop.run_until_complete(self.questions.open_all(asked)):
            results = self.results.setdefault(question.shown.request_id, [])
            question.answer.add_done_callback(results.append)

    @rule(data=st.data(), times=st.integers(1, 3))
    def answer(self, data: st.DataObject, times: int) -> None:
        request_id = data.draw(st.sampled_from(list(self.results) or ["nobody"]))
        is_open = request_id in self.questions._open

        async def all_at_once() -> list[Any]:
            answers = [self.questions.answer(request_id, number, None) for number in range(times)]
            return await asyncio.gather(*answers, return_exceptions=True)

        results = self.loop.run_until_complete(all_at_once())
        accepted = [each for each in results if not isinstance(each, BaseException)]
        assert len(accepted) == is_open

    @rule(data=st.data(), how=st.sampled_from(["withdraw", "expire", "cancel"]))
    def close(self, data: st.DataObject, how: str) -> None:
        if not len(self.questions):
            return
        question = self.questions._open[data.draw(st.sampled_from(list(self.questions._open)))]
        if how == "withdraw":
            self.questions.withdraw(question)
        elif how == "expire":
            self.questions._expire(question)
        else:  # the agent's task is cancelled, and withdraws the question a turn later
            question.answer.cancel()
            with pytest.raises(QuestionNotOpen):
                self.loop.run_until_complete(self.questions.answer(question.shown.request_id, 1, None))
            self.questions.withdraw(question)

    @rule()
    def end(self) -> None:
        self.questions.end()

    @invariant()
    def each_question_ends_once(self) -> None:
        self._drain()
        for request_id, results in self.results.items():
            is_open = request_id in self.questions._open
            assert len(results) == (not is_open)
            assert self.published.count(("input_requested", request_id)) == 1
            answered = any(not each.cancelled() and each.exception() is None for each in results)
            assert self.published.count(("input_received", request_id)) == answered

    @invariant()
    def the_record_shows_the_oldest_question(self) -> None:
        oldest = next(iter(self.questions._open.values()), None)
        if oldest is not None:
            assert self.record == oldest.shown


TestAnswers = Answers.TestCase
TestAnswers.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


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
