"""Translation of what LangChain's `astream_events` yields to events."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from dockrion import events, json_encoding
from dockrion.agents.chat_messages import MessageTranslator
from dockrion.agents.tool_calls import Event, ToolCallTranslator, given
from dockrion.events import validation
from dockrion.runs.session import RunSession

_MODELS = ("chat_model", "llm")
_STEPS = (*_MODELS, "tool", "retriever")
_UNNAMED_CHAIN = "Runnable"  # the default names of composed chains (`RunnableSequence`, …) start with it
_BRANCH_TAG = "map:key:"  # of the parts of a `RunnableParallel`


class ChainStreamTranslator:
    """Translates the events of one run's `astream_events`, without I/O.

    Args:
        session: The run.

    Attributes:
        output: What the runnable returned.
    """

    def __init__(self, session: RunSession) -> None:
        self.output: Any = None
        self._tools = ToolCallTranslator(session)
        self._messages = MessageTranslator(session, session.events_filter, self._tools)
        self._started_at: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._streamed: set[str] = set()
        self._has_model = False

    def translate(self, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the events for one event of the runnable."""
        if part["event"] == "on_custom_event":
            yield _custom_event(part["name"], part["data"])
            return
        kind, _, phase = part["event"].removeprefix("on_").rpartition("_")
        if phase == "start":
            yield from self._on_start(kind, part)
        elif phase == "stream":
            yield from self._on_chunk(kind, part)
        elif phase == "end":
            yield from self._on_end(kind, part)
        elif phase == "error":
            error = part["data"]["error"]
            yield from self._tools.raised(
                part["run_id"], json_encoding.safe_str(error) or type(error).__name__
            )
            self._forget(part["run_id"])

    def close(self) -> Iterator[Event]:
        """Yield the events that waited for more parts. Call it when the stream is over."""
        yield from self._messages.close()
        yield from self._tools.close()

    def _on_start(self, kind: str, part: Mapping[str, Any]) -> Iterator[Event]:
        run_id = part["run_id"]
        self._started_at[run_id] = time.perf_counter()
        self._has_model = self._has_model or kind in _MODELS
        if kind == "tool":
            source = self._path(part["parent_ids"])
            yield from self._tools.started(run_id, part["name"], part["data"].get("input"), source)
        if part["parent_ids"] and (name := _source_name(kind, part)):
            self._names[run_id] = name

    def _on_chunk(self, kind: str, part: Mapping[str, Any]) -> Iterator[Event]:
        chunk, run_id = part["data"]["chunk"], part["run_id"]
        if kind in _MODELS:
            self._streamed.add(run_id)
            yield from self._model_output(kind, chunk, part)
        elif isinstance(chunk, str) and not part["parent_ids"] and not self._has_model:
            yield {"type": "token", "content": chunk}

    def _on_end(self, kind: str, part: Mapping[str, Any]) -> Iterator[Event]:
        data, run_id = part["data"], part["run_id"]
        output = _llm_text(data["output"]) if kind == "llm" else data["output"]
        started_at = self._started_at.get(run_id, time.perf_counter())
        if kind in _MODELS and run_id not in self._streamed:
            yield from self._model_output(kind, output, part)
        if kind == "tool":
            yield from self._tools.returned(run_id, output)
        if not part["parent_ids"]:
            self.output = output
        elif kind in _STEPS or (kind == "chain" and not part["name"].startswith(_UNNAMED_CHAIN)):
            yield {
                "type": "step",
                "node_name": part["name"],
                "duration_ms": (time.perf_counter() - started_at) * 1000,
                "input_keys": _keys(data.get("input")),
                "output_keys": _keys(output),
                **given(source=self._path([*part["parent_ids"], run_id])),
            }
        self._forget(run_id)

    def _model_output(self, kind: str, output: Any, part: Mapping[str, Any]) -> Iterator[Event]:
        run_id = part["run_id"]
        source = None if run_id in self._messages else self._path([*part["parent_ids"], run_id])
        if kind == "chat_model":
            model = part["metadata"].get("ls_model_name")
            yield from self._messages.translate(output, run_id, source=source, model=model)
        elif text := _llm_text(output):
            yield {"type": "token", "content": text, **given(source=source)}

    def _path(self, run_ids: list[str]) -> str | None:
        """Return the path of nested runs, of which those without a name are left out."""
        return "/".join(self._names[run_id] for run_id in run_ids if run_id in self._names) or None

    def _forget(self, run_id: str) -> None:
        self._started_at.pop(run_id, None)
        self._names.pop(run_id, None)
        self._streamed.discard(run_id)


def _source_name(kind: str, part: Mapping[str, Any]) -> str | None:
    """Return the name that a run adds to the source of what happens in it, if it adds one."""
    for tag in part["tags"]:
        if tag.startswith(_BRANCH_TAG):
            return str(tag.removeprefix(_BRANCH_TAG))
    has_name = kind == "tool" or (kind == "chain" and not part["name"].startswith(_UNNAMED_CHAIN))
    return part["name"] if has_name else None


def _custom_event(name: str, data: Any) -> Mapping[str, Any]:
    if validation.is_event(data):
        return data  # type: ignore[no-any-return]
    try:
        event_type = events.custom_type(name)
    except ValueError:
        event_type = events.UNTYPED_WRITES
    try:
        events.check_custom_fields(data)
    except (ValueError, TypeError):
        data = {"data": data}
    return {**(data if isinstance(data, Mapping) else {"data": data}), "type": event_type}


def _llm_text(output: Any) -> str:
    """Return the text of a model that is not a chat model, from a chunk or a whole result."""
    if isinstance(output, Mapping):
        output = output["generations"][0][0]["text"]
    return str(getattr(output, "text", output))


def _keys(value: Any) -> list[str] | None:
    return [str(name) for name in value] if isinstance(value, Mapping) else None
