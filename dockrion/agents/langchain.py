"""LangChain runnables as agents: chains, models, agents, anything that is a `Runnable`."""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from dockrion import events
from dockrion.agents import runnable_config
from dockrion.agents.chat_messages import TokenTranslator
from dockrion.agents.default_executor import DefaultExecutor, run_joining_threads
from dockrion.agents.output_forwarding import forward_parts_async
from dockrion.events import validation
from dockrion.runs.agent import Agent, Call, InProcess
from dockrion.runs.session import RunSession

_MODELS = ("chat_model", "llm")
_STEPS = (*_MODELS, "tool", "retriever")
_UNNAMED_CHAIN = "Runnable"  # the default names of composed chains (`RunnableSequence`, …) start with it


def create_agent(runnable: Any, config: dict[str, Any], *, threads: int) -> Agent:
    """Return the agent for what a factory returned: a `GraphAgent` for a graph, else a `RunnableAgent`."""
    pregel = sys.modules.get("langgraph.pregel")  # loaded, if the factory returned a graph
    if pregel is not None and isinstance(runnable, pregel.Pregel):
        from dockrion.agents import langgraph  # noqa: PLC0415  langgraph: another extra

        return langgraph.GraphAgent(runnable, config, threads=threads)
    return RunnableAgent(runnable, config, threads=threads)


class RunnableAgent(InProcess):
    """Streams a runnable's events, or invokes it if no one can see events.

    Step events are emitted for models, tools, retrievers and the named parts of a chain.

    Args:
        runnable: The runnable.
        config: The validated config that every run starts from.
        threads: How many runs may work at once.

    Raises:
        TypeError: It is not a runnable.
    """

    def __init__(self, runnable: Any, config: dict[str, Any], *, threads: int) -> None:
        if not isinstance(runnable, Runnable):
            raise TypeError(
                f"expected a Runnable of LangChain, got {type(runnable).__name__}; "
                "framework: langgraph takes graphs, custom an object with `invoke`"
            )
        self._runnable: Runnable[Any, Any] = runnable
        self._config = config
        self._executor = DefaultExecutor(threads)
        self._is_model = _is_model(runnable)

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        config: Any = runnable_config.for_run(self._config, call, session)
        value = self._input(call.payload)
        if not (streaming and session.events_filter.passes_any):
            return await run_joining_threads(self._runnable.ainvoke(value, config))
        translator = _StreamTranslator()
        parts: Any = self._runnable.astream_events(value, config, version="v2")
        await run_joining_threads(forward_parts_async(parts, translator.translate, session))
        return translator.output

    async def aclose(self) -> None:
        self._executor.close()

    def _input(self, payload: Any) -> Any:
        """Return the input: the payload or, for a model, which takes no mapping, the messages in it."""
        if self._is_model and isinstance(payload, dict):
            return payload.get("messages", payload.get("input", payload))
        return payload


class _StreamTranslator:
    """Translates the events of `astream_events`, without I/O.

    Attributes:
        output: What the runnable returned.
    """

    def __init__(self) -> None:
        self.output: Any = None
        self._tokens = TokenTranslator()
        self._started_at: dict[str, float] = {}
        self._streamed: set[str] = set()
        self._has_model = False

    def translate(self, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the events for one event of the runnable."""
        if part["event"] == "on_custom_event":
            yield _custom_event(part["name"], part["data"])
            return
        kind, _, phase = part["event"].removeprefix("on_").rpartition("_")
        if phase == "start":
            self._started_at[part["run_id"]] = time.perf_counter()
            self._has_model = self._has_model or kind in _MODELS
        elif phase == "stream":
            yield from self._on_chunk(kind, part)
        elif phase == "end":
            yield from self._on_end(kind, part)

    def _on_chunk(self, kind: str, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        chunk, run_id = part["data"]["chunk"], part["run_id"]
        if kind in _MODELS:
            self._streamed.add(run_id)
            yield from self._model_output(kind, chunk, run_id)
        elif isinstance(chunk, str) and not part["parent_ids"] and not self._has_model:
            yield {"type": "token", "content": chunk}

    def _on_end(self, kind: str, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        data, run_id = part["data"], part["run_id"]
        output = _llm_text(data["output"]) if kind == "llm" else data["output"]
        started_at = self._started_at.pop(run_id, time.perf_counter())
        if kind in _MODELS and run_id not in self._streamed:
            yield from self._model_output(kind, output, run_id)
        self._streamed.discard(run_id)
        if not part["parent_ids"]:
            self.output = output
        elif kind in _STEPS or (kind == "chain" and not part["name"].startswith(_UNNAMED_CHAIN)):
            yield {
                "type": "step",
                "node_name": part["name"],
                "duration_ms": (time.perf_counter() - started_at) * 1000,
                "input_keys": _keys(data.get("input")),
                "output_keys": _keys(output),
            }

    def _model_output(self, kind: str, output: Any, run_id: str) -> Iterator[Mapping[str, Any]]:
        if kind == "chat_model":
            yield from self._tokens.translate(output, run_id)
        elif text := _llm_text(output):
            yield {"type": "token", "content": text}


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


def _is_model(runnable: Any) -> bool:
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return isinstance(runnable, BaseLanguageModel)
