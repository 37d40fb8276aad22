"""`@dockrion.tool`: a function whose calls are tool calls of the run that it works for."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing, nullcontext
from functools import partial
from typing import Any, TypeVar, overload

from dockrion.runs.context import StreamContext, get_current_context
from dockrion.runs.open_tool_call import OpenToolCall
from dockrion.runs.tool_policy import check_without_run
from dockrion.signatures import signature_of

_F = TypeVar("_F", bound=Callable[..., Any])
_RESULT = "tool_result"


@overload
def tool(function: _F, /) -> _F: ...


@overload
def tool(*, name: str | None = None) -> Callable[[_F], _F]: ...


def tool(function: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Callable[..., Any]:
    """Emit each call of a function as a tool call: its arguments, its result or error, its duration.

    Sync and async functions and generators stay what they are, with their signature. Arguments are shown by
    name; the result of a generator is what it returned or, without that, the list of what it yielded. A value
    without a JSON form, or too large for an event, is shown by its type: `<Connection>`. Outside a run the
    function is called and nothing else happens, except that `policies.tools` applies there, too.

    Not for the tools of LangChain, whose calls the service emits itself.

    Args:
        function: The function, as in `@dockrion.tool`.
        name: The tool's name, as in `@dockrion.tool(name="search")`; by default that of the function.

    Raises:
        TypeError: It is not a function.
        ToolDenied: When it is called: `policies.tools` does not allow it.
    """
    if function is None:
        return lambda function: _as_tool(function, name)
    return _as_tool(function, name)


def _as_tool(function: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        hint = 'a name is given as @dockrion.tool(name="…"); @staticmethod and @classmethod stand above it'
        raise TypeError(f"@dockrion.tool is for functions, not for {type(function).__name__}; {hint}")
    tool = _Tool(function, name or function.__name__)
    if inspect.isasyncgenfunction(function):
        wrapped: Callable[..., Any] = _wrap_async_generator(tool)
    elif inspect.isgeneratorfunction(function):
        wrapped = _wrap_generator(tool)
    elif inspect.iscoroutinefunction(function):
        wrapped = _wrap_coroutine(tool)
    else:
        wrapped = _wrap_function(tool)
    return functools.wraps(function)(wrapped)


class _Tool:
    """A function and what is shown of it."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self._name = name
        self._signature = signature_of(function)

    def begin(
        self, context: StreamContext, args: tuple[Any, ...], kwargs: dict[str, Any], *, current: bool = True
    ) -> OpenToolCall:
        """Return the block of one call; `current` as in `OpenToolCall`."""
        call = context.tool(self._name)
        call.current = current
        call.show_arguments(lambda: self._by_name(args, kwargs))
        return call

    def current_context(self) -> StreamContext | None:
        """Return the context to emit to, None outside a run.

        Raises:
            ToolDenied: Outside a run, a policy of this process does not allow the tool.
        """
        context = get_current_context()
        if context is None:
            check_without_run(self._name)
        return context

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError:  # the function will raise the same
            return kwargs
        shown: dict[str, Any] = {}
        for position, (name, value) in enumerate(bound.items()):
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                shown |= value
            elif not isinstance(value, StreamContext) and (position or name not in ("self", "cls")):
                shown[name] = value
        return shown


def _wrap_function(tool: _Tool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if (context := tool.current_context()) is None:
            return tool.function(*args, **kwargs)
        with tool.begin(context, args, kwargs) as call:
            result = tool.function(*args, **kwargs)
            call.show_result(result)
        return result

    return call


def _wrap_coroutine(tool: _Tool) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        if (context := tool.current_context()) is None:
            return await tool.function(*args, **kwargs)
        async with tool.begin(context, args, kwargs) as call:
            result = await tool.function(*args, **kwargs)
            call.show_result(result)
        return result

    return call


def _wrap_generator(tool: _Tool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        if (context := tool.current_context()) is None:
            return (yield from tool.function(*args, **kwargs))
        with (
            tool.begin(context, args, kwargs, current=False) as call,
            closing(tool.function(*args, **kwargs)) as items,
        ):
            yielded: list[Any] = []
            returned = None
            proceed = partial(items.send, None)
            try:
                while True:
                    try:
                        item = proceed()
                    except StopIteration as stop:
                        returned = stop.value
                        return returned
                    if context.events_filter.allows(_RESULT):
                        yielded.append(item)
                    try:
                        proceed = partial(items.send, (yield item))
                    except Exception as error:  # thrown into it
                        proceed = partial(items.throw, error)
            finally:
                call.show_result(yielded if returned is None else returned)

    return call


def _wrap_async_generator(tool: _Tool) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        context = tool.current_context()
        async with (
            nullcontext() if context is None else tool.begin(context, args, kwargs, current=False) as call,
            aclosing(tool.function(*args, **kwargs)) as items,
        ):
            yielded: list[Any] = []
            proceed = partial(items.asend, None)
            try:
                while True:
                    try:
                        item = await proceed()
                    except StopAsyncIteration:
                        return
                    if context is not None and context.events_filter.allows(_RESULT):
                        yielded.append(item)
                    try:
                        proceed = partial(items.asend, (yield item))
                    except Exception as error:  # thrown into it
                        proceed = partial(items.athrow, error)
            finally:
                if call is not None:
                    call.show_result(yielded)

    return call
