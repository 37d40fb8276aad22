"""The events that agent code emits: one method for each type, and its sync twin."""

from collections.abc import Iterable, Mapping
from typing import Any

from dockrion import events
from dockrion.events import validation
from dockrion.runs.emitter import Emitter


class EmitMethods:
    """The methods of `StreamContext` that emit events; its docstring says what they have in common.

    Args:
        emitter: Takes the events.
    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    async def emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        """Report the progress of a step.

        Args:
            step: The step's name.
            progress: From 0.0 to 1.0; values outside are clamped.
            message: A text to show.
        """
        await self._emitter.emit("progress", validation.progress, step, progress, message)

    def sync_emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        self._emitter.sync_emit("progress", validation.progress, step, progress, message)

    async def emit_token(
        self,
        content: str,
        finish_reason: str | None = None,
        *,
        message_id: str | None = None,
        source: str | None = None,
    ) -> None:
        """Stream a piece of the output text.

        Args:
            content: The text.
            finish_reason: Why the text ends; given with its last piece.
            message_id: The message that it is a part of.
            source: The agent, node or branch that it comes from, such as `supervisor/researcher`.
        """
        await self._emitter.emit("token", validation.token, content, finish_reason, message_id, source)

    def sync_emit_token(
        self,
        content: str,
        finish_reason: str | None = None,
        *,
        message_id: str | None = None,
        source: str | None = None,
    ) -> None:
        self._emitter.sync_emit("token", validation.token, content, finish_reason, message_id, source)

    async def emit_message(
        self,
        content: Any,
        role: str = "assistant",
        *,
        message_id: str | None = None,
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        """Share a whole message, after its tokens or in place of them.

        Args:
            content: Its text, or a list of content blocks, each a mapping.
            role: Who says it: `assistant`, `user`, `system`, `tool`, or another role.
            message_id: Its id, that of its tokens.
            name: The author's name.
            source: The agent, node or branch that it comes from.
        """
        await self._emitter.emit("message", validation.message, content, role, message_id, name, source)

    def sync_emit_message(
        self,
        content: Any,
        role: str = "assistant",
        *,
        message_id: str | None = None,
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        self._emitter.sync_emit("message", validation.message, content, role, message_id, name, source)

    async def emit_reasoning(
        self, content: str, *, message_id: str | None = None, source: str | None = None
    ) -> None:
        """Stream a piece of a model's reasoning.

        Args:
            content: The text.
            message_id: The message that it leads to.
            source: The agent, node or branch that it comes from.
        """
        await self._emitter.emit("reasoning", validation.reasoning, content, message_id, source)

    def sync_emit_reasoning(
        self, content: str, *, message_id: str | None = None, source: str | None = None
    ) -> None:
        self._emitter.sync_emit("reasoning", validation.reasoning, content, message_id, source)

    async def emit_tool_call(
        self,
        name: str,
        arguments: Any = None,
        tool_call_id: str | None = None,
        *,
        message_id: str | None = None,
        source: str | None = None,
    ) -> str:
        """Report that the agent calls a tool. `tool` does this, and reports the result.

        Args:
            name: The tool's name.
            arguments: The whole arguments, any value that can be encoded as JSON; `{}` if None.
            tool_call_id: The call's id, unique in the run; a new one if None.
            message_id: The message in which a model asked for the call.
            source: The agent, node or branch that it comes from.

        Returns:
            The call's id, for `emit_tool_result`.

        Raises:
            ToolDenied: `policies.tools` does not allow the tool.
        """
        tool_call_id = self._emitter.begin_tool_call(name, tool_call_id)
        await self._emitter.emit(
            "tool_call", validation.tool_call, tool_call_id, name, arguments, message_id, source
        )
        return tool_call_id

    def sync_emit_tool_call(
        self,
        name: str,
        arguments: Any = None,
        tool_call_id: str | None = None,
        *,
        message_id: str | None = None,
        source: str | None = None,
    ) -> str:
        tool_call_id = self._emitter.begin_tool_call(name, tool_call_id)
        self._emitter.sync_emit(
            "tool_call", validation.tool_call, tool_call_id, name, arguments, message_id, source
        )
        return tool_call_id

    async def emit_tool_result(
        self,
        tool_call_id: str,
        result: Any = None,
        is_error: bool = False,
        *,
        name: str | None = None,
        duration_ms: float | None = None,
        source: str | None = None,
    ) -> None:
        """Report the result of a tool's call.

        Args:
            tool_call_id: The call's id.
            result: Its result, or what went wrong: any value that can be encoded as JSON.
            is_error: Whether the call failed.
            name: The tool's name; by default that of the call.
            duration_ms: The call's duration in milliseconds; by default the time since `emit_tool_call`.
            source: The agent, node or branch that it comes from.
        """
        name, duration_ms = self._emitter.end_tool_call(tool_call_id, name, duration_ms)
        await self._emitter.emit(
            "tool_result", validation.tool_result, tool_call_id, result, is_error, name, duration_ms, source
        )

    def sync_emit_tool_result(
        self,
        tool_call_id: str,
        result: Any = None,
        is_error: bool = False,
        *,
        name: str | None = None,
        duration_ms: float | None = None,
        source: str | None = None,
    ) -> None:
        name, duration_ms = self._emitter.end_tool_call(tool_call_id, name, duration_ms)
        self._emitter.sync_emit(
            "tool_result", validation.tool_result, tool_call_id, result, is_error, name, duration_ms, source
        )

    async def emit_usage(
        self,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
        details: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
    ) -> None:
        """Report the tokens that one request to a model took.

        The run's sum by model is in `usage` of its metadata, whether or not the filter passes the event.

        Args:
            model: The model's name.
            input_tokens: Tokens that the model read.
            output_tokens: Tokens that the model wrote.
            total_tokens: By default the sum of both.
            details: Anything more, such as cached tokens.
            source: The agent, node or branch that it comes from.
        """
        counted = self._emitter.count_usage(model, input_tokens, output_tokens, total_tokens, details, source)
        await self._emitter.emit("usage", dict, counted)

    def sync_emit_usage(
        self,
        model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
        details: Mapping[str, Any] | None = None,
        *,
        source: str | None = None,
    ) -> None:
        counted = self._emitter.count_usage(model, input_tokens, output_tokens, total_tokens, details, source)
        self._emitter.sync_emit("usage", dict, counted)

    async def emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
        *,
        source: str | None = None,
    ) -> None:
        """Report that a step of the agent's work is done.

        Args:
            node_name: The step's name.
            duration_ms: Its duration in milliseconds.
            input_keys: The names of the values that it read.
            output_keys: The names of the values that it wrote.
            source: The agent or branch that it belongs to.
        """
        fields = node_name, duration_ms, input_keys, output_keys, source
        await self._emitter.emit("step", validation.step, *fields)

    def sync_emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
        *,
        source: str | None = None,
    ) -> None:
        fields = node_name, duration_ms, input_keys, output_keys, source
        self._emitter.sync_emit("step", validation.step, *fields)

    async def checkpoint(self, name: str, data: Any) -> None:
        """Share an intermediate result.

        Args:
            name: Its name.
            data: Any value that can be encoded as JSON.
        """
        await self._emitter.emit("checkpoint", validation.checkpoint, name, data)

    def sync_checkpoint(self, name: str, data: Any) -> None:
        self._emitter.sync_emit("checkpoint", validation.checkpoint, name, data)

    async def emit(self, /, event_type: str, data: Any = None, **fields: Any) -> None:
        """Emit a custom event.

        Args:
            event_type: Its name, with or without `custom:` before it.
            data: A mapping of fields, of any names; anything else becomes the field `data`.
            fields: More fields.

        Raises:
            ValueError: The name is malformed, or a field would hide a common field of events.
        """
        await self._emitter.emit(events.custom_type(event_type), validation.custom, data, fields)

    def sync_emit(self, /, event_type: str, data: Any = None, **fields: Any) -> None:
        self._emitter.sync_emit(events.custom_type(event_type), validation.custom, data, fields)

    async def emit_heartbeat(self) -> None:
        """Emit a numbered heartbeat event. The service keeps connections open by itself."""
        await self._emitter.emit("heartbeat", dict)

    def sync_emit_heartbeat(self) -> None:
        self._emitter.sync_emit("heartbeat", dict)
