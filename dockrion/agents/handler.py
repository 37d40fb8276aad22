"""Agents in plain Python: a handler function, or an object that a factory makes."""

from collections.abc import Callable
from typing import Any

from dockrion.agents.callables import Target
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
        self._target = Target(handler)

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        return await self._target.call(call.payload, session)


class ObjectAgent(InProcess):
    """Calls the object that an entrypoint's factory returned.

    Where somebody can see events, `astream` or `stream` is called if there is one;
    otherwise `ainvoke` or `invoke`. Of two, the async one.

    Args:
        made: The object.

    Raises:
        TypeError: It has neither `invoke` nor `ainvoke`, or one cannot be called with a payload.
    """

    def __init__(self, made: Any) -> None:
        invoke = _method(made, "ainvoke") or _method(made, "invoke")
        if invoke is None:
            raise TypeError(f"{type(made).__name__} has no method `invoke` or `ainvoke`")
        stream = _method(made, "astream") or _method(made, "stream")
        self._invoke = Target(invoke)
        self._stream = Target(stream, streams=True) if stream else self._invoke

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        return await (self._stream if streaming else self._invoke).call(call.payload, session)


def _method(made: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(made, name, None)
    return method if callable(method) else None
