"""LangChain runnables as agents: chains, models, agents, anything that is a `Runnable`."""

import sys
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from dockrion.agents import runnable_config
from dockrion.agents.chain_stream import ChainStreamTranslator
from dockrion.agents.chat_messages import MESSAGES_SCHEMA
from dockrion.agents.default_executor import DefaultExecutor, run_joining_threads
from dockrion.agents.model_usage import UsageHandler
from dockrion.agents.output_forwarding import forward_parts_async
from dockrion.agents.tool_calls import ToolHandler
from dockrion.dockfile.agent_structs import ArgumentsSpec
from dockrion.runs.agent import Agent, Call, InProcess
from dockrion.runs.session import RunSession

_DEFAULTS = ArgumentsSpec()


def create_agent(
    runnable: Any, config: dict[str, Any], *, threads: int, arguments: ArgumentsSpec = _DEFAULTS
) -> Agent:
    """Return the agent for what a factory returned: a `GraphAgent` for a graph, else a `RunnableAgent`."""
    pregel = sys.modules.get("langgraph.pregel")  # loaded, if the factory returned a graph
    if pregel is not None and isinstance(runnable, pregel.Pregel):
        from dockrion.agents import langgraph  # noqa: PLC0415  langgraph: another extra

        return langgraph.GraphAgent(runnable, config, threads=threads, arguments=arguments)
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
        if self._is_model:
            self.input_schema = MESSAGES_SCHEMA

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        config: Any = runnable_config.for_run(self._config, call, session)
        value = self._input(call.payload)
        if not (streaming and session.events_filter.passes_any):
            config["callbacks"] = [UsageHandler(session), *([ToolHandler(session)] if session.traced else [])]
            return await run_joining_threads(self._runnable.ainvoke(value, config))
        translator = ChainStreamTranslator(session)
        parts: Any = self._runnable.astream_events(value, config, version="v2")
        await run_joining_threads(forward_parts_async(parts, translator, session))
        return translator.output

    async def aclose(self) -> None:
        self._executor.close()

    def _input(self, payload: Any) -> Any:
        """Return the input: the payload or, for a model, which takes no mapping, the messages in it."""
        if self._is_model and isinstance(payload, dict):
            return payload.get("messages", payload.get("input", payload))
        return payload


def _is_model(runnable: Any) -> bool:
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return isinstance(runnable, BaseLanguageModel)
