"""A run of an agent in a test, without a service: the same engine, with events kept in memory."""

import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

import msgspec

from dockrion import ids
from dockrion.agents import runnable_config
from dockrion.agents.handler import HandlerAgent, ObjectAgent
from dockrion.agents.handler_types import as_declared
from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import WaitingFor
from dockrion.caller import Caller, CallerRequest
from dockrion.dockfile.structs import ArgumentsSpec
from dockrion.errors import Conflict, InvalidRequest, QuestionNotOpen
from dockrion.events import TERMINAL, Complete, Error, Event, EventFilter, Token
from dockrion.events.decoding import decode
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Agent, Call
from dockrion.runs.manager import RunManager
from dockrion.runs.recorder import RunSettings
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.testing.answers import MAX_EVENT_BYTES, Answers, answer_to, as_json, has_answer

_MAX_EVENTS = 100_000
_STORED_SECONDS = 604_800.0  # longer than any test
_UNSEEN_QUESTION_SECONDS = 0.02


class RecordedRun:
    """What an agent did in a run of `record`, so far.

    Attributes:
        run_id: The run's id.
        events: Its events, each a struct of its type (`dockrion.events`) or a `Custom` event.
        waiting_for: The question that the agent waits for, None if it does not; the oldest of several.
    """

    def __init__(
        self, runs: RunManager, backend: MemoryBackend, run_id: str, answers: Answers, *, sees_questions: bool
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
            InvalidRequest: It is over already.
        """
        await self._runs.cancel(self.run_id, reason)
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

        Args:
            until: The type; None to wait for a question or the end.
        """
        idle = _STORED_SECONDS if self._sees_questions else _UNSEEN_QUESTION_SECONDS
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
        await run.session.answer(question.request_id, value, None)
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
) -> AsyncIterator[RecordedRun]:
    """Run an agent as the service does, without one; the block is entered when the run is over.

    A run that is not over when the block is left is cancelled.

    Args:
        agent: What a Dockfile's `handler` names, or what an entrypoint's factory returns: a function, an
            object with `invoke`, a graph, a runnable.
        payload: The request's body; any value that can be encoded as JSON.
        until: Enter the block as soon as the agent has emitted an event of this type, while it goes on.
        caller: The authenticated caller, for `context.caller`.
        headers: The headers of the request, for `context.request.headers`.
        allowed_events: Which events pass, as `streaming.events.allowed` has it; all by default.
        allowed_tools: The only tools that the agent may call, as `policies.tools.allowed` has it; by default
            it may call any.
        answers: The answers to `ask`, by prompt: a mapping, or a function. At a question without one, the
            block is entered.
        arguments: The Dockfile's `arguments` for a graph or a chain: `config`, `interrupts`, `stream_values`.
        max_run_duration: Seconds that the agent may work; then the run fails with `TIMEOUT_ERROR`.

    Yields:
        The run: its events, output and error.

    Raises:
        TypeError: The agent cannot be called.
        ValueError: An event type or a preset is unknown; an argument is invalid; the payload does not match
            the type that the agent declares for it.
        json_encoding.NotJSON: The payload has no JSON form.
    """
    settings = _settings(EventFilter(allowed_events), ToolPolicy(allowed_tools), max_run_duration)
    backend = MemoryBackend(max_events=_MAX_EVENTS + 1, ttl=_STORED_SECONDS)
    runs = RunManager(settings, backend, Metrics(), Redactor())
    try:
        runs.agent = created = _create_agent(agent, _arguments(arguments or {}))
        body = _as_declared(created, as_json(payload, "payload"))
        call = Call(body, caller=caller, request=CallerRequest.with_headers(headers))
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


def _create_agent(target: Any, arguments: ArgumentsSpec) -> Agent:
    config = runnable_config.parse(arguments.config or {})
    # A framework is not imported here: if the agent is one of its objects, it is loaded.
    if _is_instance(target, "langgraph.graph.state", "StateGraph"):
        from dockrion.agents import langgraph  # noqa: PLC0415  an optional dependency

        return langgraph.create_agent(target, config, threads=1, arguments=arguments)
    if _is_instance(target, "langchain_core.runnables.base", "Runnable"):
        from dockrion.agents import langchain  # noqa: PLC0415  an optional dependency

        return langchain.create_agent(target, config, threads=1, arguments=arguments)
    if hasattr(target, "invoke") or hasattr(target, "ainvoke"):
        return ObjectAgent(target)
    return HandlerAgent(target)


def _arguments(given: Mapping[str, Any]) -> ArgumentsSpec:
    if unknown := given.keys() - set(ArgumentsSpec.__struct_fields__):
        raise ValueError(f"arguments has no field {', '.join(sorted(unknown))}")
    return msgspec.convert(given, ArgumentsSpec)


def _as_declared(agent: Agent, payload: Any) -> Any:
    """Return a payload as the type that the agent's code declares for it."""
    return as_declared(agent.callables, payload) if isinstance(agent, HandlerAgent | ObjectAgent) else payload


def _is_instance(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


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
        max_stored_events=_MAX_EVENTS,
        streamed=True,
        max_event_bytes=MAX_EVENT_BYTES,
        max_emitted_events=_MAX_EVENTS,
        output_policy=None,
        tools=tools,
    )
