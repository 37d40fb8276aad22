"""The agent of a test, as the service would make it."""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from dockrion.agents import runnable_config
from dockrion.agents.handler import HandlerAgent, ObjectAgent
from dockrion.agents.handler_types import as_declared
from dockrion.dockfile.agent_structs import ArgumentsSpec
from dockrion.runs.agent import Agent


def create_agent(target: Any, arguments: Mapping[str, Any]) -> Agent:
    """Return the agent that a service makes of an object.

    Args:
        target: A function, an object with `invoke`, a graph, a runnable.
        arguments: The Dockfile's `arguments`.

    Raises:
        TypeError: It is not an agent.
        ValueError: The arguments are invalid.
    """
    spec = _spec(arguments)
    config = runnable_config.parse(spec.config or {})
    # A framework is not imported here: if the agent is one of its objects, it is loaded.
    if _is_instance(target, "langgraph.graph.state", "StateGraph"):
        from dockrion.agents import langgraph  # noqa: PLC0415  an optional dependency

        return langgraph.create_agent(target, config, threads=1, arguments=spec)
    if _is_instance(target, "langchain_core.runnables.base", "Runnable"):
        from dockrion.agents import langchain  # noqa: PLC0415  an optional dependency

        return langchain.create_agent(target, config, threads=1, arguments=spec)
    if hasattr(target, "invoke") or hasattr(target, "ainvoke"):
        return ObjectAgent(target)
    return HandlerAgent(target)


def _spec(given: Mapping[str, Any]) -> ArgumentsSpec:
    if unknown := given.keys() - set(ArgumentsSpec.__struct_fields__):
        raise ValueError(f"arguments has no field {', '.join(sorted(unknown))}")
    return msgspec.convert(given, ArgumentsSpec)


def as_declared_by(agent: Agent, payload: Any) -> Any:
    """Return a payload as the type that the agent's code declares for it."""
    return as_declared(agent.callables, payload) if isinstance(agent, HandlerAgent | ObjectAgent) else payload


def _is_instance(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))
