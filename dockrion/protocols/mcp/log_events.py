"""What the encoder reads of the log's events. Values that are only passed on stay JSON."""

from datetime import datetime
from typing import Any

import msgspec

NULL = msgspec.Raw(b"null")


class Step(msgspec.Struct):
    node_name: msgspec.Raw


class Progress(msgspec.Struct):
    step: msgspec.Raw
    progress: float
    message: msgspec.Raw = NULL


class ToolCall(msgspec.Struct):
    name: str
    source: str = ""


class Question(msgspec.Struct):
    request_id: str
    prompt: str = ""
    schema: dict[str, Any] | None = None
    expires_at: datetime | None = None

    @property
    def is_secret(self) -> bool:
        """Whether nobody but the agent may see the answer, or a part of it."""
        text = b"" if self.schema is None else msgspec.json.encode(self.schema)
        return b'"writeOnly":true' in text or b'"format":"password"' in text


class Answer(msgspec.Struct):
    request_id: str


class _Metadata(msgspec.Struct):
    output_errors: list[Any] = []


class Complete(msgspec.Struct):
    output: msgspec.Raw
    metadata: msgspec.Raw


class Error(msgspec.Struct):
    error: str


class Cancelled(msgspec.Struct):
    reason: str | None = None


def output_errors(metadata: msgspec.Raw) -> list[Any]:
    """Return what is wrong with an output, as the metadata of its event says."""
    try:
        return msgspec.json.decode(metadata, type=_Metadata).output_errors
    except msgspec.DecodeError:  # metadata of the agent's own
        return []
