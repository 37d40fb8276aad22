"""LangGraph graphs as agents."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

from dockrion.agents import runnable_config
from dockrion.agents.chat_messages import MESSAGES_SCHEMA
from dockrion.agents.default_executor import DefaultExecutor, run_joining_threads
from dockrion.agents.graph_stream import GraphStreamTranslator, stream_modes
from dockrion.agents.handler import ObjectAgent
from dockrion.agents.model_usage import UsageHandler
from dockrion.agents.output_forwarding import forward_parts, forward_parts_async
from dockrion.dockfile.agent_structs import ArgumentsSpec
from dockrion.errors import AgentFailed
from dockrion.events import EventFilter
from dockrion.json_encoding import encode
from dockrion.logs import log
from dockrion.runs.agent import Agent, Call, InProcess
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.question import Question
from dockrion.runs.session import RunSession
from dockrion.threads import finish_in_thread

_logger = logging.getLogger(__name__)
_DEFAULTS = ArgumentsSpec()
_QUESTION_FIELDS = {"prompt", "schema"}
_CHECKPOINT = "checkpoint_id"
_MADE_BY = "dockrion_run"  # in the metadata of a checkpoint: the incarnation of the run that made it


def create_agent(
    product: Any, config: dict[str, Any], *, threads: int, arguments: ArgumentsSpec = _DEFAULTS
) -> Agent:
    """Return the agent for what a factory returned: a `GraphAgent` unless it is no graph.

    Args:
        product: What the factory returned.
        config: The validated config that every run starts from.
        threads: How many runs may work at once.
        arguments: The Dockfile's `arguments`.

    Raises:
        TypeError: It is neither a graph nor an object with `invoke` or `ainvoke`, or it is a graph
            that cannot be served.
    """
    if isinstance(product, StateGraph):
        _check_state(product)
        log(_logger, logging.INFO, "graph compiled", nodes=sorted(product.nodes))
        product = product.compile()
    if isinstance(product, Pregel):
        return GraphAgent(product, config, threads=threads, arguments=arguments)
    kind = type(product).__name__
    if isinstance(product, Runnable):
        from dockrion.agents.langchain import RunnableAgent  # noqa: PLC0415  imports this module, too

        log(_logger, logging.WARNING, "not a graph: served as a runnable of LangChain", type=kind)
        return RunnableAgent(product, config, threads=threads)
    try:
        agent = ObjectAgent(product)
    except TypeError as error:
        raise TypeError(f"expected a graph of LangGraph, got {kind}: {error}") from error
    log(_logger, logging.WARNING, "not a graph: served as a custom agent", type=kind)
    return agent


class GraphAgent(InProcess):
    """Streams a graph's run.

    Args:
        graph: The graph.
        config: The validated config that every run starts from.
        threads: How many runs may work at once.
        arguments: The Dockfile's `arguments`.

    Raises:
        TypeError: It cannot be served: its state has no keys, or it needs a checkpointer.
    """

    def __init__(
        self, graph: Any, config: dict[str, Any], *, threads: int, arguments: ArgumentsSpec = _DEFAULTS
    ) -> None:
        if isinstance(graph, CompiledStateGraph):
            _check_state(graph.builder)
        self._graph: Any = graph
        self.input_schema = {"type": "object", **MESSAGES_SCHEMA} if _takes_messages(graph) else None
        self.keeps_threads = bool(graph.checkpointer)
        self._config = config
        self._stream_values = arguments.stream_values
        self._waits = arguments.interrupts == "wait"
        if self._waits and not graph.checkpointer:
            raise TypeError(
                "arguments.interrupts: wait requires a checkpointer, from which the graph can continue; "
                "compile it with one: graph.compile(checkpointer=InMemorySaver())"
            )
        self._executor = DefaultExecutor(threads)
        saver = graph.checkpointer
        self.threads_in_memory = isinstance(saver, InMemorySaver)
        # The async methods of the base class raise NotImplementedError.
        self._sync_only = (
            isinstance(saver, BaseCheckpointSaver)
            and type(saver).aget_tuple is BaseCheckpointSaver.aget_tuple
        )

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        named = runnable_config.thread_id(self._config, call)
        is_stored = bool(self._graph.checkpointer)
        thread_id = session.run_id if named is None and is_stored else named
        if named is not None:
            session.note_conversation(str(named))
        config = runnable_config.for_run(self._config, call, session, thread_id=thread_id)
        if is_stored:
            config["metadata"] = {**config.get("metadata", {}), _MADE_BY: session.incarnation}
        if not is_stored or named is None:
            return await self._run(call, session, config, thread_id, streaming=streaming)
        # Two runs at once would both continue from one checkpoint, and the thread would lose one of them.
        async with session.alone_in(f"thread {config['configurable']['thread_id']}"):
            return await self._run(call, session, config, thread_id, streaming=streaming)

    async def aclose(self) -> None:
        self._executor.close()

    async def _run(
        self,
        call: Call,
        session: RunSession,
        config: dict[str, Any],
        thread_id: str | int | None,
        *,
        streaming: bool,
    ) -> Outcome:
        value = call.payload
        if call.attempt > 1 and await self._continues(config, session):
            value = None
        elif call.resume is not msgspec.UNSET:
            if not (await self._state(config)).next:
                return Failed("the thread has nothing to resume", AgentFailed.code)
            value = Command(resume=call.resume)
        events_filter = session.events_filter if streaming else EventFilter([])
        translator = GraphStreamTranslator(session, events_filter, values=self._stream_values)
        modes = stream_modes(events_filter, traced=session.traced)
        if "messages" not in modes:
            config["callbacks"] = [UsageHandler(session)]
        await self._forward(value, config, modes, translator, session)
        while self._waits and translator.interrupts and session.answerable:
            interrupts = translator.take_interrupts()
            answers = await session.ask_all(list(map(interrupt_question, interrupts)))
            ids = (interrupt.id for interrupt in interrupts)
            value = Command(resume=dict(zip(ids, answers, strict=True)))
            await self._forward(value, config, modes, translator, session)
        return translator.outcome(thread_id)

    async def _forward(
        self,
        value: Any,
        config: dict[str, Any],
        modes: list[str],
        translator: GraphStreamTranslator,
        session: RunSession,
    ) -> None:
        """Stream the graph until it ends or is interrupted, and emit the events."""
        options = {"stream_mode": modes, "subgraphs": True}
        if self._sync_only:
            stream = partial(self._graph.stream, value, config, **options)
            await finish_in_thread(
                lambda: forward_parts(stream(), translator, session), f"dockrion-{session.run_id}"
            )
        else:
            parts = self._graph.astream(value, config, **options)
            await run_joining_threads(forward_parts_async(parts, translator, session))

    async def _continues(self, config: dict[str, Any], session: RunSession) -> bool:
        """Return whether an earlier attempt of the run has made the thread's last checkpoint.

        The graph continues from it, also if the caller has named the checkpoint at which the run began. A
        thread that ends with a checkpoint of another run gets the payload again.
        """
        if not self._graph.checkpointer:
            return False
        configurable = {name: value for name, value in config["configurable"].items() if name != _CHECKPOINT}
        state = await self._state(config | {"configurable": configurable})
        if (state.metadata or {}).get(_MADE_BY) != session.incarnation:
            return False
        config["configurable"] = configurable
        log(_logger, logging.INFO, "graph continues from its last checkpoint", run_id=session.run_id)
        return True

    async def _state(self, config: dict[str, Any]) -> Any:
        """Return the snapshot of a thread's state."""
        if self._sync_only:
            return await finish_in_thread(lambda: self._graph.get_state(config), "dockrion-state")
        return await self._graph.aget_state(config)


def interrupt_question(interrupt: Any) -> Question:
    """Return the question that an interrupt asks a person.

    Args:
        interrupt: An `Interrupt` of LangGraph. Its value is the prompt, as JSON unless it is text; or a
            mapping of `prompt` and, optionally, the `schema` of the answer, in place of `response_schema`.
    """
    value, schema = interrupt.value, getattr(interrupt, "response_schema", None)
    if isinstance(value, Mapping) and "prompt" in value and value.keys() <= _QUESTION_FIELDS:
        value, schema = value["prompt"], value.get("schema", schema)
    prompt = value if isinstance(value, str) else encode(value, "interrupt").decode()
    return Question(prompt, schema=schema if isinstance(schema, Mapping) else None)


def _takes_messages(graph: Any) -> bool:
    """Return whether a graph's input has `messages` that `add_messages` adds to its state."""
    if not isinstance(graph, CompiledStateGraph):
        return False
    channel = graph.builder.schemas[graph.builder.input_schema].get("messages")
    reducer = getattr(channel, "operator", None)
    reducer = getattr(reducer, "func", reducer)  # `add_messages(format=…)` is a partial function
    return getattr(reducer, "__module__", None) == add_messages.__module__


def _check_state(graph: Any) -> None:
    """Refuse a graph whose nodes could neither read nor write anything.

    Raises:
        TypeError: Its state has no keys.
    """
    if not graph.channels:
        schema = getattr(graph.state_schema, "__name__", "its state")
        raise TypeError(
            f"the state of the graph, {schema}, has no keys, so that its nodes can pass nothing on; "
            f"use a TypedDict: class {schema}(TypedDict) with a line such as `messages: list` for each key"
        )
