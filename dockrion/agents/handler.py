"""Agents in plain Python: a handler function, or an object that a factory returns.

Functions may be sync or async, and return a value or be generators. Sync code runs in a thread, so
that it never blocks the event loop.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from typing import Any

from dockrion.agents.output_forwarding import forward_items, forward_items_async
from dockrion.agents.signatures import with_context
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.session import RunSession
from dockrion.threads import finish_in_thread

_NOT_ITERATED = (dict, str, type(None))  # common results, recognized without the slower checks


class HandlerAgent(InProcess):
    """Calls one function for every run.

    Args:
        handler: The function.

    Attributes:
        callables: What is called with payloads.

    Raises:
        TypeError: It cannot be called with a payload.
    """

    def __init__(self, handler: Callable[..., Any]) -> None:
        self.callables = [handler]
        self._handler = AgentCallable(handler)

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        return await self._handler.call(call.payload, session)


class ObjectAgent(InProcess):
    """Calls the methods of an object that an entrypoint's factory returned.

    If events can be seen, it calls `astream` or `stream`, if there is one; otherwise `ainvoke` or
    `invoke`. Of two, the async one is preferred.

    Args:
        instance: The object.

    Attributes:
        callables: What is called with payloads; first the method that invokes it without streaming.

    Raises:
        TypeError: It has neither `invoke` nor `ainvoke`, or one cannot be called with a payload.
    """

    def __init__(self, instance: Any) -> None:
        invoke = _method(instance, "ainvoke") or _method(instance, "invoke")
        if invoke is None:
            raise TypeError(f"{type(instance).__name__} has no method `invoke` or `ainvoke`")
        stream = _method(instance, "astream") or _method(instance, "stream")
        self.callables = [invoke, *filter(None, [stream])]
        self._invoke = AgentCallable(invoke)
        self._stream = AgentCallable(stream, streams=True) if stream else self._invoke

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        return await (self._stream if streaming else self._invoke).call(call.payload, session)


class AgentCallable:
    """A callable of the agent, prepared to be called with a payload.

    The context is passed to a parameter that is named `context` or annotated `StreamContext`.

    Args:
        function: The callable.
        streams: Whether to iterate over any iterable that it returns; generators and iterators
            always are.

    Raises:
        TypeError: It cannot be called with a payload.
    """

    def __init__(self, function: Callable[..., Any], *, streams: bool = False) -> None:
        self._function = with_context(function)
        self._streams = streams
        self._is_async = _is_async(function)

    async def call(self, payload: Any, session: RunSession) -> Any:
        """Call it, forward what it yields, and return its output."""
        result: Any
        if self._is_async:
            result = self._function(payload, session.context)
        else:
            result = await finish_in_thread(
                lambda: self._call_and_forward(payload, session), f"dockrion-{session.run_id}"
            )
        if inspect.isawaitable(result):
            result = await result
        if type(result) in _NOT_ITERATED:
            return result
        if isinstance(result, AsyncIterable):
            return await forward_items_async(result, session)
        if self._is_stream(result):  # returned by an async function
            return await forward_items_async(_as_async(result), session)
        return result

    def _call_and_forward(self, payload: Any, session: RunSession) -> Any:
        result = self._function(payload, session.context)
        return forward_items(result, session) if self._is_stream(result) else result

    def _is_stream(self, result: Any) -> bool:
        if isinstance(result, Iterator):
            return True
        is_value = isinstance(result, str | bytes | Mapping)
        return self._streams and isinstance(result, Iterable) and not is_value


async def _as_async(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  to inspect a callable object's method
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in (function, call)
    )


def _method(instance: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(instance, name, None)
    return method if callable(method) else None
