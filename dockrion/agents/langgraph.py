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
from dockrion.agents.chat_messages import TokenTranslator
from dockrion.agents.default_executor import DefaultExecutor, run_joining_threads
from dockrion.agents.output_forwarding import forward_parts, forward_parts_async
from dockrion.errors import AgentFailed
from dockrion.events import UNTYPED_WRITES, EventFilter
from dockrion.events.validation import is_event
from dockrion.json_encoding import encode
from dockrion.logs import log
from dockrion.runs import outcome
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.session import RunSession
from dockrion.threads import finish_in_thread

_logger = logging.getLogger(__name__)
_INTERRUPT = "__interrupt__"
_Part = tuple[tuple[str, ...], str, Any]  # namespace, stream mode, data


class GraphAgent(InProcess):
    """Streams a graph's run.

    Args:
        graph: The graph, compiled or not.
        config: The validated config that every run starts from.
        threads: How many runs may work at once.

    Raises:
        TypeError: It is not a graph.
    """

    def __init__(self, graph: Any, config: dict[str, Any], *, threads: int) -> None:
        if isinstance(graph, StateGraph):
            log(_logger, logging.INFO, "graph compiled", nodes=sorted(graph.nodes))
            graph = graph.compile()
        if not isinstance(graph, Pregel):
            raise TypeError(
                f"expected a graph of LangGraph, got {type(graph).__name__}; "
                "framework: langchain takes any Runnable, custom an object with `invoke`"
            )
        self._graph: Any = graph
        self._config = config
        self._executor = DefaultExecutor(threads)
        saver = graph.checkpointer
        # The async methods of the base class raise NotImplementedError.
        self._sync_only = (
            isinstance(saver, BaseCheckpointSaver)
            and type(saver).aget_tuple is BaseCheckpointSaver.aget_tuple
        )

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        thread_id = runnable_config.thread_id(self._config, call)
        if thread_id is None and self._graph.checkpointer:
            thread_id = session.run_id
        config = runnable_config.for_run(self._config, call, session, thread_id=thread_id)
        value = call.payload
        if call.resume is not msgspec.UNSET:
            if not await self._is_interrupted(config):
                return Failed("the thread has nothing to resume", AgentFailed.code)
            value = Command(resume=call.resume)
        modes = _stream_modes(session.events_filter if streaming else EventFilter([]))
        translator = _StreamTranslator()
        if self._sync_only:
            stream = partial(self._graph.stream, value, config, stream_mode=modes, subgraphs=True)
            await finish_in_thread(
                lambda: forward_parts(stream(), translator.translate, session), f"dockrion-{session.run_id}"
            )
        else:
            parts = self._graph.astream(value, config, stream_mode=modes, subgraphs=True)
            await run_joining_threads(forward_parts_async(parts, translator.translate, session))
        return translator.outcome(thread_id)

    async def aclose(self) -> None:
        self._executor.close()

    async def _is_interrupted(self, config: dict[str, Any]) -> bool:
        if self._sync_only:
            state = await finish_in_thread(lambda: self._graph.get_state(config), "dockrion-state")
        else:
            state = await self._graph.aget_state(config)
        return bool(state.next)


create_agent = GraphAgent  # the name under which `loading` finds each framework's agent


class _StreamTranslator:
    """Translates the parts of a graph's stream, without I/O."""

    def __init__(self) -> None:
        self._tokens = TokenTranslator()
        self._started: dict[str, tuple[float, list[str] | None]] = {}
        self._state: Any = None
        self._interrupts: list[dict[str, Any]] = []

    def translate(self, part: _Part) -> Iterator[Mapping[str, Any]]:
        """Yield the events for one part."""
        namespace, mode, data = part
        if mode == "messages":
            message, metadata = data
            # A whole message that no model produced was written by a node, and is not streamed.
            if isinstance(message, AIMessageChunk) or "ls_model_type" in metadata:
                yield from self._tokens.translate(message)
        elif mode == "tasks":
            yield from self._on_task(data)
        elif mode == "custom":
            yield data if is_event(data) else {"type": UNTYPED_WRITES, "data": data}
        elif not namespace:
            self._on_state(data)

    def outcome(self, thread_id: Any) -> Outcome:
        """Return the outcome of a stream that has ended.

        Args:
            thread_id: Identifies the thread that a caller can resume.
        """
        if not self._interrupts:
            return outcome.of_output(self._state)
        metadata = {"interrupted": True, "interrupts": self._interrupts, "thread_id": thread_id}
        return outcome.of_output(self._state, metadata)

    def _on_task(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "input" in task:
            self._started[task["id"]] = time.perf_counter(), _keys(task["input"])
            return
        started_at, input_keys = self._started.pop(task["id"], (time.perf_counter(), None))
        if task["error"] is None and not task["interrupts"]:
            yield {
                "type": "step",
                "node_name": task["name"],
                "duration_ms": (time.perf_counter() - started_at) * 1000,
                "input_keys": input_keys,
                "output_keys": _keys(task["result"]),
            }

    def _on_state(self, state: Any) -> None:
        if isinstance(state, dict) and _INTERRUPT in state:
            self._interrupts += [
                {"id": interrupt.id, "value": msgspec.Raw(encode(interrupt.value, "interrupt"))}
                for interrupt in state[_INTERRUPT]
            ]
            state = {name: value for name, value in state.items() if name != _INTERRUPT} or self._state
        self._state = state


def _stream_modes(events_filter: EventFilter) -> list[str]:
    """Return the stream modes whose events pass the filter, and `values` for the output."""
    return [
        "values",
        *(["messages"] if events_filter.allows("token") else []),
        *(["tasks"] if events_filter.allows("step") else []),
        *(["custom"] if events_filter.passes_any else []),
    ]


def _keys(value: Any) -> list[str] | None:
    """Return the names of the values that a node reads or writes, if its state has names."""
    if isinstance(value, Mapping):
        names = list(value)
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(type(value), "model_fields"):  # pydantic
        names = list(type(value).model_fields)
    else:
        return None
    return [str(name) for name in names if not str(name).startswith("__")]
