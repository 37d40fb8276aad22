"""Agents in plain Python: a handler function, or an object that a factory returns.

Functions may be sync or async, and return a value or be generators. Sync code runs in a thread, so
that it never blocks the event loop.
"""

import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from typing import Any, get_args, get_type_hints

if sys.version_info >= (3, 14):
    import annotationlib

from dockrion.agents.output_forwarding import forward_items, forward_items_async
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.context import StreamContext
from dockrion.runs.session import RunSession
from dockrion.threads import finish_in_thread

_NOT_ITERATED = (dict, str, type(None))  # common results, recognized without the slower checks


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
        self._function = _with_context(function)
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


def _with_context(function: Callable[..., Any]) -> Callable[[Any, StreamContext], Any]:
    """Return the function with the signature (payload, context), whether or not it takes the context.

    Raises:
        TypeError: The function cannot be called with a payload and, where it takes one, a context.
    """
    try:
        signature = signature_of(function)
    except ValueError:  # some builtins have none
        return lambda payload, _context: function(payload)
    hints = _hints(function)
    for position, parameter in enumerate(signature.parameters.values()):
        if _takes_context(parameter, hints):
            return _passing_context(function, signature, parameter, position)
    signature.bind(None)
    return lambda payload, _context: function(payload)


def _passing_context(
    function: Callable[..., Any], signature: inspect.Signature, parameter: inspect.Parameter, position: int
) -> Callable[[Any, StreamContext], Any]:
    if position <= 1 and parameter.kind != parameter.KEYWORD_ONLY:
        signature.bind(None, None)
        return function if position == 1 else lambda payload, context: function(context, payload)
    if parameter.kind == parameter.POSITIONAL_ONLY:
        raise TypeError(f"{parameter.name!r} is neither its first nor its second argument")
    name = parameter.name
    signature.bind(None, **{name: None})
    return lambda payload, context: function(payload, **{name: context})


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature without evaluating its annotations.

    Raises:
        ValueError: The function, a builtin, has none.
    """
    if sys.version_info >= (3, 14):
        # Annotations are evaluated lazily there, and may contain names for type checkers only.
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the evaluated annotations, if all of them can be evaluated."""
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = getattr(function, "__call__", function)  # noqa: B004  to inspect its method
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # it runs the agent's code; then the unevaluated strings are used
        return {}


def _takes_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    annotation = hints.get(parameter.name, parameter.annotation)
    return parameter.name == "context" or _is_context_type(annotation)


def _is_context_type(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return StreamContext.__name__ in annotation
    return annotation is StreamContext or any(map(_is_context_type, get_args(annotation)))


def _method(instance: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(instance, name, None)
    return method if callable(method) else None
