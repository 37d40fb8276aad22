"""Translation of a LangGraph graph's stream to events."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, RemoveMessage, ToolMessage

from dockrion.agents import message_content
from dockrion.agents.chat_messages import MessageTranslator
from dockrion.agents.graph_sources import GraphSources, Namespace
from dockrion.agents.tool_calls import Event, ToolCallTranslator, given
from dockrion.events import UNTYPED_WRITES, EventFilter
from dockrion.events.validation import is_event
from dockrion.json_encoding import encode
from dockrion.runs import outcome
from dockrion.runs.outcome import Outcome
from dockrion.runs.session import RunSession

VALUES = "custom:values"
TOOL_OUTPUT = "custom:tool_output"
_MESSAGES = ("token", "message", "reasoning", "tool_call", "tool_result", "usage")
_TOOLS = ("tool_call", "tool_result")
_TASKS = ("step", *_TOOLS)  # tasks tell which node calls a tool
_INTERRUPT = "__interrupt__"
_AGENT_NAME = "lc_agent_name"
Part = tuple[Namespace, str, Any]  # namespace, stream mode, data


def stream_modes(events_filter: EventFilter, *, traced: bool = False) -> list[str]:
    """Return the stream modes whose events pass the filter, and `values` for the output.

    Args:
        events_filter: Which events pass.
        traced: Whether steps and tool calls become spans, also those that do not pass.
    """

    def passes(types: tuple[str, ...]) -> bool:
        return any(map(events_filter.allows, types))

    return [
        "values",
        *(["messages"] if passes(_MESSAGES) else []),
        *(["tasks"] if traced or passes(_TASKS) else []),
        *(["tools"] if traced or passes(_TOOLS) else []),  # ignored by LangGraph before 1.2
        *(["custom"] if events_filter.passes_any else []),
    ]


class GraphStreamTranslator:
    """Translates the parts of one run's stream, without I/O.

    Args:
        session: The run.
        events_filter: Which events pass.
        values: Whether every state becomes an event.

    Attributes:
        interrupts: The interrupts of the stream that are not resumed.
    """

    def __init__(self, session: RunSession, events_filter: EventFilter, *, values: bool = False) -> None:
        self._session = session
        self._tools = ToolCallTranslator(session)
        self._messages = MessageTranslator(session, events_filter, self._tools)
        self._sources = GraphSources()
        self._values = values
        self._model_calls: dict[int, Mapping[str, Any]] = {}  # keeps them alive, so that ids stay unique
        self._started: dict[str, tuple[float, list[str] | None]] = {}
        self._state: Any = None
        self.interrupts: list[Any] = []

    def translate(self, part: Part) -> Iterator[Mapping[str, Any]]:
        """Yield the events for one part."""
        namespace, mode, data = part
        match mode:
            case "messages":
                yield from self._on_message(namespace, *data)
            case "tasks":
                yield from self._on_task(namespace, data)
            case "tools":
                yield from self._on_tool(namespace, data)
            case "custom":
                yield data if is_event(data) else {"type": UNTYPED_WRITES, "data": data}
            case "values":
                yield from self._on_state(namespace, data)

    def close(self) -> Iterator[Event]:
        """Yield the events that waited for more parts. Call it when the stream is over."""
        yield from self._messages.close()
        if not self.interrupts:  # otherwise the tools may work on when the graph is resumed
            yield from self._tools.close()

    def outcome(self, thread_id: Any) -> Outcome:
        """Return the outcome of a stream that is over.

        Args:
            thread_id: Identifies the thread that a caller can resume.
        """
        if not self.interrupts:
            return outcome.of_output(self._state)
        interrupts = [
            {"id": interrupt.id, "value": msgspec.Raw(encode(interrupt.value, "interrupt"))}
            for interrupt in self.interrupts
        ]
        metadata = {"interrupted": True, "interrupts": interrupts, "thread_id": thread_id}
        return outcome.of_output(self._state, metadata)

    def take_interrupts(self) -> list[Any]:
        """Return the interrupts and forget them: the stream continues from them."""
        interrupts, self.interrupts = self.interrupts, []
        return interrupts

    def _on_message(self, namespace: Namespace, message: Any, metadata: Mapping[str, Any]) -> Iterator[Event]:
        if _is_of_model(message, metadata):
            yield from self._on_model_message(namespace, message, metadata)
            return
        source = self._source(namespace, metadata)
        if isinstance(message, ToolMessage):
            yield from self._tools.answered(message, source)
        elif isinstance(message, BaseMessage) and not isinstance(message, RemoveMessage):
            if message_content.has_content(message) or not isinstance(message, AIMessage):
                yield message_content.message_event(message, source, self._session.show)
            if isinstance(message, AIMessage):
                yield from self._tools.requested(message, source)

    def _on_model_message(
        self, namespace: Namespace, message: AIMessage, metadata: Mapping[str, Any]
    ) -> Iterator[Event]:
        # Chunks of one message may have different ids, but have the same metadata object.
        key, source = id(metadata), None
        if key not in self._model_calls:
            self._model_calls[key] = metadata
            source = self._source(namespace, metadata)
        model = metadata.get("ls_model_name")
        yield from self._messages.translate(message, key, source=source, model=model)
        if key not in self._messages:
            del self._model_calls[key]

    def _on_task(self, namespace: Namespace, task: dict[str, Any]) -> Iterator[Event]:
        task_id, node = task["id"], task["name"]
        if "input" in task:
            self._started[task_id] = time.perf_counter(), _keys(task["input"])
            agent = (task.get("metadata") or {}).get(_AGENT_NAME)
            self._sources.task_started(namespace, task_id, node, agent)
            return
        started_at, input_keys = self._started.pop(task_id, (time.perf_counter(), None))
        if task["error"] is None and not task["interrupts"]:
            yield {
                "type": "step",
                "node_name": node,
                "duration_ms": (time.perf_counter() - started_at) * 1000,
                "input_keys": input_keys,
                "output_keys": _keys(task["result"]),
                "source": self._sources.of_task(namespace, task_id, node),
            }
        self._sources.task_ended(namespace, task_id, node)

    def _on_tool(self, namespace: Namespace, data: Mapping[str, Any]) -> Iterator[Event]:
        call_id = data["tool_call_id"]
        match data["event"]:
            case "tool-started":
                source = self._sources.of_tool(namespace)
                yield from self._tools.started(call_id, data["tool_name"], data.get("input"), source)
            case "tool-output-delta":
                yield {
                    "type": TOOL_OUTPUT,
                    "tool_call_id": call_id,
                    "data": self._session.show(data["delta"]),
                }
            case "tool-finished":
                yield from self._tools.returned(call_id, data["output"])
            case "tool-error":
                yield from self._tools.raised(call_id, data["message"])

    def _on_state(self, namespace: Namespace, state: Any) -> Iterator[Event]:
        interrupts: Any = ()
        if isinstance(state, dict) and _INTERRUPT in state:
            interrupts = state[_INTERRUPT]
            state = {name: value for name, value in state.items() if name != _INTERRUPT}
        if not namespace:
            self.interrupts += interrupts
            self._state = state or self._state if interrupts else state
        if self._values and not interrupts:  # those repeat the state
            yield {
                "type": VALUES,
                "data": self._session.show(state),
                **given(source=self._sources.of_graph(namespace)),
            }

    def _source(self, namespace: Namespace, metadata: Mapping[str, Any]) -> str:
        task_id = metadata["langgraph_checkpoint_ns"].rpartition(":")[2]
        return self._sources.of_task(
            namespace, task_id, metadata["langgraph_node"], metadata.get(_AGENT_NAME)
        )


def _is_of_model(message: Any, metadata: Mapping[str, Any]) -> bool:
    """Return whether a model said this now; other messages are written by a node."""
    return isinstance(message, AIMessageChunk) or (
        isinstance(message, AIMessage) and "ls_model_type" in metadata
    )


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
