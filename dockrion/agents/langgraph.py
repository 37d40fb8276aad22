"""LangGraph graphs as agents."""

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from langchain_core.messages import AIMessageChunk
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command

from dockrion.agents import runnable_config
from dockrion.agents.chat_messages import Tokens
from dockrion.agents.default_executor import NodeThreads, with_its_threads
from dockrion.agents.output_forwarding import drain, drain_async
from dockrion.agents.tool_guard import ToolGuard
from dockrion.errors import AgentFailed
from dockrion.events import UNTYPED_WRITES, EventFilter
from dockrion.events.validation import is_event
from dockrion.json_encoding import encode
from dockrion.logs import log
from dockrion.runs import outcome
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.context import RunSession
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.threads import finish_in_thread

_logger = logging.getLogger(__name__)
_INTERRUPT = "__interrupt__"
Part = tuple[tuple[str, ...], str, Any]  # namespace, stream mode, data


def agent_of(made: Any, config: dict[str, Any], tools: ToolPolicy, *, threads: int) -> "GraphAgent":
    """Return the agent for what a factory made.

    Args:
        made: A graph, compiled or not.
        config: Its config, checked.
        tools: Which tools it may call.
        threads: How many runs may work at once.

    Raises:
        TypeError: It is no graph.
    """
    if isinstance(made, StateGraph):
        log(_logger, logging.INFO, "graph compiled", nodes=sorted(made.nodes))
        made = made.compile()
    if not isinstance(made, Pregel):
        raise TypeError(
            f"expected a graph of LangGraph, got {type(made).__name__}; "
            "framework: langchain takes any Runnable, custom an object with `invoke`"
        )
    return GraphAgent(made, config, NodeThreads(threads), ToolGuard(tools))


class GraphAgent(InProcess):
    """Streams a graph's run.

    Args:
        graph: The graph.
        config: What each run's config is made of.
        threads: Where its sync nodes run.
        guard: Stops the calls of tools that it may not call.
    """

    def __init__(self, graph: Any, config: dict[str, Any], threads: NodeThreads, guard: ToolGuard) -> None:
        self._graph = graph
        self._config = config
        self._threads = threads
        self._guard = guard
        saver = graph.checkpointer
        # The base class's async methods raise NotImplementedError.
        self._sync_only = (
            isinstance(saver, BaseCheckpointSaver)
            and type(saver).aget_tuple is BaseCheckpointSaver.aget_tuple
        )

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        config = self._config_of(call, session)
        given = call.payload
        if call.resume is not msgspec.UNSET:
            if not await self._is_interrupted(config):
                return Failed("the thread has nothing to resume", AgentFailed.code)
            given = Command(resume=call.resume)
        modes = _modes(session.events_filter if streaming else EventFilter([]))
        told = _Told()
        if self._sync_only:
            stream = partial(self._graph.stream, given, config, stream_mode=modes, subgraphs=True)
            await finish_in_thread(
                lambda: drain(stream(), told.events, session), f"dockrion-{session.run_id}"
            )
        else:
            parts = self._graph.astream(given, config, stream_mode=modes, subgraphs=True)
            await with_its_threads(drain_async(parts, told.events, session))
        return told.outcome(config["configurable"].get("thread_id"))

    async def aclose(self) -> None:
        self._threads.close()
        self._guard.close()

    def _config_of(self, call: Call, session: RunSession) -> dict[str, Any]:
        config = runnable_config.merged(self._config, call.config)
        config["configurable"] = {
            **config.get("configurable", {}),
            runnable_config.STREAM_CONTEXT: session.context,
        }
        if self._graph.checkpointer:
            config["configurable"].setdefault("thread_id", session.run_id)
        return config

    async def _is_interrupted(self, config: dict[str, Any]) -> bool:
        if self._sync_only:
            state = await finish_in_thread(lambda: self._graph.get_state(config), "dockrion-state")
        else:
            state = await self._graph.aget_state(config)
        return bool(state.next)


class _Told:
    """Understands the parts of a graph's stream, without I/O."""

    def __init__(self) -> None:
        self._tokens = Tokens()
        self._began: dict[str, tuple[float, list[str] | None]] = {}
        self._state: Any = None
        self._interrupts: list[dict[str, Any]] = []

    def events(self, part: Part) -> Iterator[Mapping[str, Any]]:
        """Yield the events that a part makes."""
        namespace, mode, data = part
        if mode == "messages":
            message, metadata = data
            if isinstance(message, AIMessageChunk) or "ls_model_type" in metadata:  # else a node's own
                yield from self._tokens.of(message)
        elif mode == "tasks":
            yield from self._step(data)
        elif mode == "custom":
            yield data if is_event(data) else {"type": UNTYPED_WRITES, "data": data}
        elif not namespace:
            self._note_state(data)

    def outcome(self, thread_id: Any) -> Outcome:
        """Return how the graph ended.

        Args:
            thread_id: What resumes it.
        """
        if not self._interrupts:
            return outcome.of_output(self._state)
        metadata = {"interrupted": True, "interrupts": self._interrupts, "thread_id": thread_id}
        return outcome.of_output(self._state, metadata)

    def _step(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "input" in task:
            self._began[task["id"]] = time.perf_counter(), _keys(task["input"])
            return
        began, input_keys = self._began.pop(task["id"], (time.perf_counter(), None))
        if task["error"] is None and not task["interrupts"]:
            yield {
                "type": "step",
                "node_name": task["name"],
                "duration_ms": (time.perf_counter() - began) * 1000,
                "input_keys": input_keys,
                "output_keys": _keys(task["result"]),
            }

    def _note_state(self, state: Any) -> None:
        if isinstance(state, dict) and _INTERRUPT in state:
            self._interrupts += [
                {"id": each.id, "value": msgspec.Raw(encode(each.value, "interrupt"))}
                for each in state[_INTERRUPT]
            ]
            state = {name: value for name, value in state.items() if name != _INTERRUPT} or self._state
        self._state = state


def _modes(events_filter: EventFilter) -> list[str]:
    """Return the stream modes that make the events that pass, and no others."""
    return [
        "values",
        *(["messages"] if events_filter.allows("token") else []),
        *(["tasks"] if events_filter.allows("step") else []),
        *(["custom"] if events_filter.passes_any else []),
    ]


def _keys(value: Any) -> list[str] | None:
    """Return the names of what a node reads or writes."""
    if isinstance(value, Mapping):
        names = list(value)
    elif dataclasses.is_dataclass(value):
        names = [each.name for each in dataclasses.fields(value)]
    elif hasattr(type(value), "model_fields"):
        names = list(type(value).model_fields)
    else:
        return None
    return [str(name) for name in names if not str(name).startswith("__")]
