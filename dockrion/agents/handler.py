"""Agents in plain Python: a handler function, or an object that a factory returns."""

from collections.abc import Callable
from typing import Any

from dockrion.agents.callables import AgentCallable
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.context import RunSession


class HandlerAgent(InProcess):
    """Calls one function for every run.

    Args:
        handler: The function.

    Raises:
        TypeError: It cannot be called with a payload.
    """

    def __init__(self, handler: Callable[..., Any]) -> None:
        self._handler = AgentCallable(handler)

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        return await self._handler.call(call.payload, session)


class ObjectAgent(InProcess):
    """Calls the methods of an object that an entrypoint's factory returned.

    If events can be seen, it calls `astream` or `stream`, if there is one; otherwise `ainvoke` or
    `invoke`. Of two, the async one is preferred.

    Args:
        instance: The object.

    Raises:
        TypeError: It has neither `invoke` nor `ainvoke`, or one cannot be called with a payload.
    """

    def __init__(self, instance: Any) -> None:
        invoke = _method(instance, "ainvoke") or _method(instance, "invoke")
        if invoke is None:
            raise TypeError(f"{type(instance).__name__} has no method `invoke` or `ainvoke`")
        stream = _method(instance, "astream") or _method(instance, "stream")
        self._invoke = AgentCallable(invoke)
        self._stream = AgentCallable(stream, streams=True) if stream else self._invoke

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        return await (self._stream if streaming else self._invoke).call(call.payload, session)


def _method(instance: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(instance, name, None)
    return method if callable(method) else None
