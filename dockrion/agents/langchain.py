"""LangChain runnables as agents: chains, models, agents, anything with LangChain's interface."""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from dockrion import events
from dockrion.agents import runnable_config
from dockrion.agents.chat_messages import Tokens
from dockrion.agents.default_executor import NodeThreads, with_its_threads
from dockrion.agents.output_forwarding import drain_async
from dockrion.agents.tool_guard import ToolGuard
from dockrion.events import validation
from dockrion.runs.agent import Agent, Call, InProcess
from dockrion.runs.context import RunSession
from dockrion.runs.tool_policy import ToolPolicy

_MODELS = ("chat_model", "llm")
_STEPS = (*_MODELS, "tool", "retriever")
_PLUMBING = "Runnable"  # names of what only holds a chain together begin so


def agent_of(made: Any, config: dict[str, Any], tools: ToolPolicy, *, threads: int) -> Agent:
    """Return the agent for what a factory made.

    Args:
        made: A runnable.
        config: Its config, checked.
        tools: Which tools it may call.
        threads: How many runs may work at once.

    Raises:
        TypeError: It is no runnable.
    """
    pregel = sys.modules.get("langgraph.pregel")  # there, if the factory made a graph
    if pregel is not None and isinstance(made, pregel.Pregel):
        from dockrion.agents import langgraph  # noqa: PLC0415  of another extra

        return langgraph.agent_of(made, config, tools, threads=threads)
    if not isinstance(made, Runnable):
        raise TypeError(
            f"expected a Runnable of LangChain, got {type(made).__name__}; "
            "framework: langgraph takes graphs, custom an object with `invoke`"
        )
    return RunnableAgent(made, config, NodeThreads(threads), ToolGuard(tools))


class RunnableAgent(InProcess):
    """Streams a runnable's run, or invokes it where nobody can see events.

    Steps are models, tools, retrievers, and parts of a chain with a name of their own.

    Args:
        runnable: The runnable.
        config: What each run's config is made of.
        threads: Where its sync parts run.
        guard: Stops the calls of tools that it may not call.
    """

    def __init__(
        self, runnable: Runnable[Any, Any], config: dict[str, Any], threads: NodeThreads, guard: ToolGuard
    ) -> None:
        self._runnable = runnable
        self._config = config
        self._threads = threads
        self._guard = guard
        self._is_model = _is_model(runnable)

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        config: Any = runnable_config.merged(self._config, call.config)
        config["configurable"] = {
            **config.get("configurable", {}),
            runnable_config.STREAM_CONTEXT: session.context,
        }
        given = self._input(call.payload)
        if not (streaming and session.events_filter.passes_any):
            return await with_its_threads(self._runnable.ainvoke(given, config))
        told = _Told()
        parts: Any = self._runnable.astream_events(given, config, version="v2")
        await with_its_threads(drain_async(parts, told.events, session))
        return told.output

    async def aclose(self) -> None:
        self._threads.close()
        self._guard.close()

    def _input(self, payload: Any) -> Any:
        """Return what a model takes, which is no mapping; anything else takes the payload."""
        if self._is_model and isinstance(payload, dict):
            return payload.get("messages", payload.get("input", payload))
        return payload


class _Told:
    """Understands a runnable's events, without I/O.

    Attributes:
        output: What the runnable returned.
    """

    def __init__(self) -> None:
        self.output: Any = None
        self._tokens = Tokens()
        self._began: dict[str, float] = {}
        self._streamed: set[str] = set()
        self._has_model = False

    def events(self, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the events that one of the runnable's makes."""
        if part["event"] == "on_custom_event":
            yield _custom(part["name"], part["data"])
            return
        kind, _, moment = part["event"].removeprefix("on_").rpartition("_")
        if moment == "start":
            self._began[part["run_id"]] = time.perf_counter()
            self._has_model = self._has_model or kind in _MODELS
        elif moment == "stream":
            yield from self._piece(kind, part)
        elif moment == "end":
            yield from self._end(kind, part)

    def _piece(self, kind: str, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        chunk, run_id = part["data"]["chunk"], part["run_id"]
        if kind in _MODELS:
            self._streamed.add(run_id)
            yield from self._said(kind, chunk, run_id)
        elif isinstance(chunk, str) and not part["parent_ids"] and not self._has_model:
            yield {"type": "token", "content": chunk}

    def _end(self, kind: str, part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        data, run_id = part["data"], part["run_id"]
        output = _text_of(data["output"]) if kind == "llm" else data["output"]
        began = self._began.pop(run_id, time.perf_counter())
        if kind in _MODELS and run_id not in self._streamed:
            yield from self._said(kind, output, run_id)
        self._streamed.discard(run_id)
        if not part["parent_ids"]:
            self.output = output
        elif kind in _STEPS or (kind == "chain" and not part["name"].startswith(_PLUMBING)):
            yield {
                "type": "step",
                "node_name": part["name"],
                "duration_ms": (time.perf_counter() - began) * 1000,
                "input_keys": _keys(data.get("input")),
                "output_keys": _keys(output),
            }

    def _said(self, kind: str, said: Any, run_id: str) -> Iterator[Mapping[str, Any]]:
        if kind == "chat_model":
            yield from self._tokens.of(said, run_id)
        elif text := _text_of(said):
            yield {"type": "token", "content": text}


def _custom(name: str, data: Any) -> Mapping[str, Any]:
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


def _text_of(generated: Any) -> str:
    """Return the text of a model that speaks no messages, in a piece or whole."""
    if isinstance(generated, Mapping):
        generated = generated["generations"][0][0]["text"]
    return str(getattr(generated, "text", generated))


def _keys(value: Any) -> list[str] | None:
    return [str(name) for name in value] if isinstance(value, Mapping) else None


def _is_model(runnable: Any) -> bool:
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return isinstance(runnable, BaseLanguageModel)
