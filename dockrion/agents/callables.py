"""Calling agent code of any shape: sync or async, function or generator.

Sync code runs in a thread, so that it never blocks the event loop.
"""

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, closing
from typing import Any, get_args, get_type_hints

if sys.version_info >= (3, 14):
    import annotationlib

from dockrion.events.validation import is_event
from dockrion.runs.context import RunSession, StreamContext
from dockrion.runs.event_buffer import BUFFER_EVENTS
from dockrion.threads import finish_in_thread

_WHOLE = (dict, str, type(None))  # what is often returned, and nothing to iterate


class Target:
    """A callable of the agent, ready to be called with a payload.

    The context is passed when a parameter is called `context` or annotated `StreamContext`.

    Args:
        function: The callable.
        streams: Whether what it returns is to be iterated, whatever it is; generators
            and iterators always are.

    Raises:
        TypeError: It cannot be called with a payload.
    """

    def __init__(self, function: Callable[..., Any], *, streams: bool = False) -> None:
        self._function = function
        self._streams = streams
        self._is_async = _is_async(function)
        self._context_at = _context_at(function)

    async def call(self, payload: Any, session: RunSession) -> Any:
        """Call it, emit what it yields, and return its output."""
        result: Any
        if self._is_async:
            result = self._invoke(payload, session)
        else:
            result = await finish_in_thread(
                lambda: self._invoke_and_drain(payload, session), f"dockrion-{session.run_id}"
            )
        if inspect.isawaitable(result):
            result = await result
        if type(result) in _WHOLE:
            return result
        if isinstance(result, AsyncIterable):
            return await _drain_async(result, session)
        if self._is_stream(result):  # from an async function
            return await _drain_async(_as_async(result), session)
        return result

    def _invoke(self, payload: Any, session: RunSession) -> Any:
        if self._context_at is None:
            return self._function(payload)
        if isinstance(self._context_at, str):
            return self._function(payload, **{self._context_at: session.context})
        positional = [payload]
        positional.insert(self._context_at, session.context)
        return self._function(*positional)

    def _invoke_and_drain(self, payload: Any, session: RunSession) -> Any:
        result = self._invoke(payload, session)
        return _drain(result, session) if self._is_stream(result) else result

    def _is_stream(self, result: Any) -> bool:
        if isinstance(result, Iterator):
            return True
        whole = isinstance(result, str | bytes | Mapping)
        return self._streams and isinstance(result, Iterable) and not whole


class _Output:
    """Collects a generator's output.

    It is what the generator returned, else the last value that was neither text nor an
    event, else the whole text.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._last: Any = None

    def add(self, item: Any) -> None:
        if isinstance(item, str):
            self._text.append(item)
        elif item is not None:
            self._last = item

    def value(self, returned: Any = None) -> Any:
        if returned is not None:
            return returned
        if self._last is not None or not self._text:
            return self._last
        return "".join(self._text)


def _drain(items: Iterable[Any], session: RunSession) -> Any:
    output = _Output()
    with closing(_as_generator(items)) as source:
        while True:
            try:
                item = next(source)
            except StopIteration as end:
                return output.value(end.value)
            session.context.raise_if_cancelled()
            if is_event(item):
                session.sync_emit_event(item)
                continue
            if isinstance(item, str):
                session.context.sync_emit_token(item)
            output.add(item)


async def _drain_async(items: AsyncIterable[Any], session: RunSession) -> Any:
    output = _Output()
    async with AsyncExitStack() as stack:
        if isinstance(items, AsyncGenerator):
            # Closed here and now, so that its own clean-up is over when the run is.
            await stack.enter_async_context(aclosing(items))
        count = 0
        async for item in items:
            count += 1
            if not count % BUFFER_EVENTS:  # whatever it yields, it must not hold the event loop
                await asyncio.sleep(0)
            if is_event(item):
                await session.emit_event(item)
                continue
            if isinstance(item, str):
                await session.context.emit_token(item)
            output.add(item)
    return output.value()


async def _as_async(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


def _as_generator(items: Iterable[Any]) -> Generator[Any, None, Any]:
    return (yield from items)


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  a callable object's own, to look at
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in (function, call)
    )


def _context_at(function: Callable[..., Any]) -> str | int | None:
    """Return where the context goes: by name, by position, or nowhere."""
    try:
        signature = signature_of(function)
    except ValueError:  # some builtins have none; they take a payload
        return None
    hints = _hints(function)
    for position, parameter in enumerate(signature.parameters.values()):
        if _wants_context(parameter, hints):
            return _checked_place(signature, parameter, position)
    signature.bind(None)
    return None


def _checked_place(signature: inspect.Signature, parameter: inspect.Parameter, position: int) -> str | int:
    if position <= 1 and parameter.kind != parameter.KEYWORD_ONLY:
        signature.bind(None, None)
        return position
    if parameter.kind == parameter.POSITIONAL_ONLY:
        raise TypeError(f"{parameter.name!r} is neither its first nor its second argument")
    signature.bind(None, **{parameter.name: None})
    return parameter.name


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a signature, whatever its annotations name.

    Raises:
        ValueError: The function, some builtin, has none.
    """
    if sys.version_info >= (3, 14):
        # Annotations are evaluated late there, and may name what only type checkers import.
        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations as objects, where all their names can be had."""
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = getattr(function, "__call__", function)  # noqa: B004  its method, to look at
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # evaluating them runs the agent's code; the strings have to do
        return {}


def _wants_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    annotation = hints.get(parameter.name, parameter.annotation)
    return parameter.name == "context" or _is_context(annotation)


def _is_context(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return StreamContext.__name__ in annotation
    return annotation is StreamContext or any(map(_is_context, get_args(annotation)))
