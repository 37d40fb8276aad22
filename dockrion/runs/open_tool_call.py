"""A call of a tool by agent code, as a block: `context.tool(…)`."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from dockrion.events import validation, values
from dockrion.redaction import Redactor
from dockrion.runs import outcome_redaction
from dockrion.runs.emitter import ENVELOPE_BYTES, Emitter, RunCancelled


class OpenToolCall:
    """A tool's call, from where `async with` (or `with`, in sync code) enters the block to where it is left.

    Entering emits `tool_call`. Leaving emits `tool_result` with the result, or with the exception that ends
    the block, which goes on to whoever called it.

    Args:
        emitter: Takes the events.
        name: The tool's name.
        arguments: The whole arguments, any value that can be encoded as JSON; `{}` if None.
        tool_call_id: The call's id, unique in the run; a new one if None.
        message_id: The message in which a model asked for the call.
        source: The agent, node or branch that it comes from.

    Attributes:
        name: The tool's name.
        tool_call_id: The call's id; in the block, never None.
        result: The result, to be set in the block: any value that can be encoded as JSON.
        is_error: Whether the call failed; to be set for a tool that reports its errors as results.
        current: Whether spans of a trace that the block makes belong to the call. Not in a generator, whose
            caller would have them there, too, between two items.
    """

    __slots__ = (
        "_arguments",
        "_began",
        "_emitter",
        "_leave",
        "_message_id",
        "_source",
        "current",
        "is_error",
        "name",
        "result",
        "tool_call_id",
    )

    def __init__(
        self,
        emitter: Emitter,
        name: str,
        arguments: Any,
        tool_call_id: str | None,
        message_id: str | None,
        source: str | None,
    ) -> None:
        self.name = name
        self.tool_call_id = tool_call_id
        self.result: Any = None
        self.is_error = False
        self._emitter = emitter
        self._arguments = arguments
        self._message_id = message_id
        self._source = source
        self.current = True
        self._began = 0.0
        self._leave: Callable[[], None] | None = None

    def show_arguments(self, bind: Callable[[], Mapping[str, Any]]) -> None:
        """Set the arguments before the block; those that no event can have are shown by their type.

        Args:
            bind: Returns them by name. Not called if nobody sees the event.
        """
        if limit := self._emitter.max_bytes("tool_call"):
            arguments = bind()
            share = (limit - ENVELOPE_BYTES) // max(len(arguments), 1)
            self._arguments = {name: values.shown(value, share) for name, value in arguments.items()}

    def show_result(self, value: Any) -> None:
        """Set the result; one that no event can have is shown by its type."""
        if limit := self._emitter.max_bytes("tool_result"):
            self.result = values.shown(value, limit - ENVELOPE_BYTES)

    async def __aenter__(self) -> Self:
        await self._emitter.emit(*self._begin())
        self._enter_span()
        return self

    def __enter__(self) -> Self:
        self._emitter.sync_emit(*self._begin())
        self._enter_span()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        end = self._end(error)
        try:
            await self._emitter.emit(*end)
        except RunCancelled:
            self._emitter.emit_after_stop(*end)
            if error is None:
                raise
        except Exception as unfit:  # not JSON, or too large
            await self._emitter.emit(*self._end(unfit))
            if error is None:
                raise

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        end = self._end(error)
        try:
            self._emitter.sync_emit(*end)
        except RunCancelled:
            self._emitter.emit_after_stop(*end)
            if error is None:
                raise
        except Exception as unfit:  # as above
            self._emitter.sync_emit(*self._end(unfit))
            if error is None:
                raise

    def _begin(self) -> tuple[Any, ...]:
        """Return the arguments of an emit of the call.

        Raises:
            ToolDenied: The agent may not call the tool.
        """
        self.tool_call_id = self._emitter.begin_tool_call(self.name, self.tool_call_id)
        self._began = time.perf_counter()
        fields = self.tool_call_id, self.name, self._arguments, self._message_id, self._source
        return "tool_call", validation.tool_call, *fields

    def _enter_span(self) -> None:
        if self.current and self.tool_call_id is not None:
            self._leave = self._emitter.enter_tool_call(self.tool_call_id)

    def _end(self, error: BaseException | None) -> tuple[Any, ...]:
        """Return the arguments of an emit of the result."""
        duration_ms = (time.perf_counter() - self._began) * 1000
        if self._leave is not None:
            self._leave()
            self._leave = None
        self._emitter.end_tool_call(self.tool_call_id or "", self.name, duration_ms)
        if error is None or isinstance(error, GeneratorExit):  # a generator whose reader has enough
            result, is_error = self.result, self.is_error
        else:
            result, is_error = _message(error, self._emitter.redactor), True
        fields = self.tool_call_id, result, is_error, self.name, duration_ms, self._source
        return "tool_result", validation.tool_result, *fields


def _message(error: BaseException, redactor: Redactor) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "the call was cancelled"
    return outcome_redaction.error_message(error, redactor)
