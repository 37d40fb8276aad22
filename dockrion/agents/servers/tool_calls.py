"""Tool calls whose arguments arrive in pieces."""

from typing import Any

import msgspec

from dockrion.agents.responses import ProtocolError
from dockrion.runs.external_events import ExternalEvent


class OpenToolCall:
    """A tool call that is not whole yet.

    Args:
        call_id: The call's id.
        name: The tool's name, empty if it is still to come.
        message_id: The message that it belongs to, if it is known.

    Attributes:
        id: The call's id.
        name: The tool's name.
        arguments: What has arrived of the arguments: JSON.
    """

    def __init__(self, call_id: str, name: str = "", message_id: str | None = None) -> None:
        self.id = call_id
        self.name = name
        self.arguments = bytearray()
        self._message_id = message_id

    @property
    def size(self) -> int:
        """How much text it keeps."""
        return len(self.id) + len(self.name) + len(self._message_id or "") + len(self.arguments)

    def event(self) -> ExternalEvent:
        """Return the event for the call, when it is whole.

        Raises:
            ProtocolError: It has no name.
        """
        if not self.name:
            raise ProtocolError("the agent's server calls a tool without a name")
        fields = {"tool_call_id": self.id, "name": self.name, "arguments": _arguments(bytes(self.arguments))}
        if self._message_id is not None:
            fields["message_id"] = self._message_id
        return ExternalEvent("tool_call", fields)


def _arguments(data: bytes) -> Any:
    """Return arguments; text that is not valid JSON stays as the model wrote it."""
    if not data.strip():
        return {}
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return data.decode()
