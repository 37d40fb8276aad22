"""A run of an agent in a test, without a service: the same engine, with events kept in memory."""

import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

from dockrion import ids
from dockrion.backends.follow import follow
from dockrion.backends.run_log import WaitingFor
from dockrion.caller import Caller, CallerRequest
from dockrion.errors import Conflict, InvalidRequest, QuestionNotOpen
from dockrion.events import TERMINAL, Complete, Error, Event, EventFilter, PreviousEnd, Token
from dockrion.events.decoding import decode
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Call
from dockrion.runs.manager import RunManager
from dockrion.runs.outcome import Stop
from dockrion.runs.settings import RunSettings
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.testing.agents import as_declared_by, create_agent
from dockrion.testing.answers import MAX_EVENT_BYTES, Answers, answer_to, as_json, has_answer
from dockrion.testing.holding_backend import HoldingBackend

_MAX_EVENTS = 100_000
_NEVER_IDLE = 604_800.0  # seconds, longer than any test
_UNSEEN_QUESTION_SECONDS = 0.02


class RecordedRun:
    """What an agent did in a run of `record`, so far.

    Attributes:
        run_id: The run's id.
        events: Its events, each a struct of its type (`dockrion.events`) or a `Custom` event.
        waiting_for: The question that the agent waits for, None if it does not; the oldest of several.
    """

    def __init__(
        self,
        runs: RunManager,
        backend: HoldingBackend,
        run_id: str,
        answers: Answers,
        *,
        sees_questions: bool,
    ) -> None:
        self.run_id = run_id
        self.events: list[Event] = []
        self.waiting_for: WaitingFor | None = None
        self._runs = runs
        self._backend = backend
        self._answers = answers
        self._answered: set[str] = set()
        self._sees_questions = sees_questions

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return bool(self.events) and self.events[-1].type in TERMINAL

    @property
    def text(self) -> str:
        """The text of all `token` events."""
        return "".join(event.content for event in self.events if isinstance(event, Token))

    @property
    def output(self) -> Any:
        """What the agent returned, as JSON has it.

        Raises:
            RuntimeError: It has not returned; the message says why.
        """
        if not self.ended:
            raise RuntimeError("the run has no output yet: it is not over")
        end = self.events[-1]
        if isinstance(end, Complete):
            return end.output
        reason = end.error if isinstance(end, Error) else "it was cancelled"
        raise RuntimeError(f"the run has no output: {reason}")

    @property
    def error(self) -> Error | None:
        """How the run failed: its `error` event. None if it did not."""
        end = self.events[-1] if self.events else None
        return end if isinstance(end, Error) else None

    async def cancel(self, reason: str | None = None) -> None:
        """Cancel the run, as `DELETE /runs/{id}` does, and wait until it is over.

        Args:
            reason: Why, for the `cancelled` event.

        Raises:
            InvalidRequest: The agent has ended already.
        """
        run = self._runs.find(self.run_id)
        if run is None or run.decided:
            raise InvalidRequest("the run is over, or the agent has ended")
        run.stop_for(Stop("cancelled", reason))
        await self.wait()

    async def respond(self, value: Any) -> None:
        """Answer the question in `waiting_for`, and wait for the next one, or until the run is over.

        Args:
            value: The answer; any value that can be encoded as JSON.

        Raises:
            RuntimeError: The agent waits for no answer.
            InvalidRequest: The value does not match the question's schema; `details` lists the violations.
            Conflict: The question has expired.
        """
        if self.waiting_for is None:
            raise RuntimeError("the agent waits for no answer")
        await self._answer(self.waiting_for, as_json(value, "value"))
        await self.wait()

    async def wait(self, until: str | None = None) -> None:
        """Wait until the agent emits an event of a type, asks what the test has no answer to, or has ended.

        After an event of that type, the agent is held: it goes on to its next emit, which then waits.

        Args:
            until: The type; None to wait for a question or the end.
        """
        if self.events:  # the first time, the agent may be held already
            self._backend.release(until)
        idle = _NEVER_IDLE if self._sees_questions else _UNSEEN_QUESTION_SECONDS
        async with follow(self._backend, self.run_id, len(self.events), idle=idle) as pages:
            async for page in pages:
                self.events += [decode(entry.type, entry.data) for entry in page.entries]
                asked = await self._next_question()
                if asked or any(entry.type == until for entry in page.entries):
                    return

    async def _next_question(self) -> bool:
        """Look at what the agent waits for; return whether that is a question that the test has to answer."""
        question = (await self._backend.get(self.run_id)).waiting_for
        if question is None or question.request_id in self._answered:
            self.waiting_for = None
            return False
        if has_answer(self._answers, question.prompt):
            with suppress(Conflict):  # it has expired
                await self._answer(question, answer_to(self._answers, question.prompt))
            return False
        is_new = question != self.waiting_for
        self.waiting_for = question
        return is_new

    async def _answer(self, question: WaitingFor, value: Any) -> None:
        run = self._runs.find(self.run_id)
        if run is None or run.session is None:
            raise QuestionNotOpen(question.request_id)
        try:
            await run.session.answer(question.request_id, value, None)
        except InvalidRequest as error:
            error.add_note(f"{question.prompt!r} was answered {value!r}: {error.details}")
            raise
        self._answered.add(question.request_id)
        self.waiting_for = None


@asynccontextmanager
async def record(
    agent: Any,
    payload: Any = None,
    *,
    until: str | None = None,
    caller: Caller | None = None,
    headers: Mapping[str, str] | None = None,
    allowed_events: str | Iterable[str] | None = None,
    allowed_tools: Iterable[str] | None = None,
    answers: Answers | None = None,
    arguments: Mapping[str, Any] | None = None,
    max_run_duration: float = 60.0,
    attempt: int = 1,
) -> AsyncIterator[RecordedRun]:
    """Run an agent as the service does, without one; the block is entered when the run is over.

    A run that is not over when the block is left is cancelled.

    Args:
        agent: What a Dockfile's `handler` names, or what an entrypoint's factory returns: a function, an
            object with `invoke`, a graph, a runnable.
        payload: The request's body; any value that can be encoded as JSON.
        until: Enter the block when the agent has emitted an event of this type. It goes on to its next emit,
            which then waits until the block is left or calls a method of the run.
        caller: The authenticated caller, for `context.caller`.
        headers: The headers of the request, for `context.request.headers`.
        allowed_events: Which events pass, as `streaming.events.allowed` has it; all by default.
        allowed_tools: The only tools that the agent may call, as `policies.tools.allowed` has it; by default
            it may call any.
        answers: The answers to `ask`, by prompt: a mapping, or a function. At a question without one, the
            block is entered.
        arguments: The Dockfile's `arguments` for a graph or a chain: `config`, `interrupts`, `stream_values`.
        max_run_duration: Seconds that the agent may work; then the run fails with `TIMEOUT_ERROR`.
        attempt: How often the agent was started for the run, this start included, for `context.attempt`.

    Yields:
        The run: its events, output and error.

    Raises:
        TypeError: The agent cannot be called.
        ValueError: An event type or a preset is unknown; an argument is invalid; the payload does not match
            the type that the agent declares for it.
        json_encoding.NotJSON: The payload has no JSON form.
    """
    settings = _settings(EventFilter(allowed_events), ToolPolicy(allowed_tools), max_run_duration)
    backend = HoldingBackend(_MAX_EVENTS + 1, until)
    runs = RunManager(settings, backend, Metrics(settings.agent_name), Redactor())
    try:
        runs.agent = created = create_agent(agent, arguments or {})
        body = as_declared_by(created, as_json(payload, "payload"))
        request = CallerRequest.with_headers(headers)
        previous: PreviousEnd | None = "worker_lost" if attempt > 1 else None
        call = Call(body, caller=caller, request=request, attempt=attempt, previous=previous)
        with _enforced(settings.tools):
            run_id = (await runs.start(call, ids.uuid7())).run_id
            sees_questions = settings.events_filter.allows("input_requested")
            run = RecordedRun(runs, backend, run_id, answers or {}, sees_questions=sees_questions)
            await run.wait(until)
            try:
                yield run
            finally:
                with suppress(InvalidRequest):  # it is over
                    await run.cancel("the test has ended")
                await run.wait()
    finally:
        await runs.aclose()
        if runs.agent is not None:
            await runs.agent.aclose()
        await backend.aclose()


@contextmanager
def _enforced(tools: ToolPolicy) -> Iterator[None]:
    """Guard LangChain's tools in a block as the service does, if there can be any."""
    if tools.restricted and "langchain_core" in sys.modules:
        from dockrion.agents import tool_guard  # noqa: PLC0415  an optional dependency

        tool_guard.install()
    tools.enforce()
    with closing(tools):
        yield


def _settings(events_filter: EventFilter, tools: ToolPolicy, seconds: float) -> RunSettings:
    return RunSettings(
        agent_name="recorded",
        framework="custom",
        events_filter=events_filter,
        output_schema=None,
        max_run_duration=seconds,
        max_concurrent_runs=1,
        max_queued_runs=0,
        max_stored_events=1,  # so that each event is a batch of its own
        streamed=True,
        max_event_bytes=MAX_EVENT_BYTES,
        max_emitted_events=_MAX_EVENTS,
        output_policy=None,
        tools=tools,
    )
