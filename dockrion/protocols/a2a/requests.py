"""Parameters of A2A's methods, in both versions of the protocol, and what they mean to the agent."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dockrion.protocols.a2a.errors import CONTENT_TYPE_NOT_SUPPORTED
from dockrion.protocols.a2a.push import PushConfig
from dockrion.protocols.conversation import AUDIO_FORMATS, Conversation
from dockrion.protocols.json_rpc import INVALID_PARAMS, RpcError

MAX_ID = 512  # characters
Id = Annotated[str, Meta(max_length=MAX_ID)]
UNSPECIFIED = "TASK_STATE_UNSPECIFIED"
_DEFAULT_MEDIA_TYPE = "application/octet-stream"


class _Struct(msgspec.Struct, rename="camel"):
    pass


class File(_Struct):
    """The content of a `file` part of version 0.3."""

    bytes: str | None = None
    uri: str | None = None
    mime_type: str | None = None


class Part(_Struct):
    """A part of a message: one of the first five fields, the last of which is version 0.3's."""

    text: str | None = None
    raw: str | None = None
    url: str | None = None
    data: Any | UnsetType = UNSET
    file: File | None = None
    media_type: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def value(self) -> Any:
        """The value of a `data` part."""
        if isinstance(self.data, dict) and (self.metadata or {}).get("data_part_compat") is True:
            return self.data.get("value")  # in version 0.3, as a2a-sdk writes what is no object
        return self.data


class Message(_Struct):
    parts: Annotated[list[Part], Meta(min_length=1)]
    message_id: Id | None = None
    context_id: Id | None = None
    task_id: Id | None = None
    metadata: dict[str, Any] | UnsetType | None = UNSET
    reference_task_ids: list[str] | UnsetType | None = UNSET


class Configuration(_Struct):
    """How the client wants the response; `blocking` and `push_notification_config` are version 0.3's."""

    return_immediately: bool = False
    blocking: bool | None = None
    task_push_notification_config: PushConfig | None = None
    push_notification_config: PushConfig | None = None

    @property
    def at_once(self) -> bool:
        return self.return_immediately or self.blocking is False

    @property
    def push(self) -> PushConfig | None:
        return self.task_push_notification_config or self.push_notification_config


class SendParams(_Struct):
    """Of a message to the agent."""

    message: Message
    configuration: Configuration | None = None

    @property
    def options(self) -> Configuration:
        return self.configuration or Configuration()


class TaskParams(_Struct):
    """Of a method about a task."""

    id: str


class ListParams(_Struct, forbid_unknown_fields=True):
    """Which tasks are listed."""

    tenant: Annotated[str, Meta(max_length=0)] = ""  # the card names none
    context_id: Id | None = None
    status: str = UNSPECIFIED
    page_size: Annotated[int, Meta(ge=1, le=100)] = 50
    page_token: str = ""
    history_length: Annotated[int, Meta(ge=0)] | None = None  # tasks have no history
    status_timestamp_after: Annotated[datetime, Meta(tz=True)] | None = None
    include_artifacts: bool = False


class PushParams(_Struct):
    """Of a method about push notifications: the task is `id` in version 0.3, and when all are listed."""

    task_id: str = ""
    id: str = ""


def payload_in(message: Message) -> dict[str, Any] | None:
    """Return the payload that a message is, None if it is said in words: nothing but one JSON object."""
    values = [part.value for part in message.parts]
    return values[0] if len(values) == 1 and isinstance(values[0], dict) else None


def conversation_of(message: Message) -> Conversation:
    """Return what a message asks an agent.

    Raises:
        RpcError: A part of it has no equivalent.
    """
    fields: dict[str, Any] = {}
    for part in message.parts:
        if isinstance(part.value, dict):
            fields |= part.value
    fields |= {
        "messageId": message.message_id,
        "contextId": message.context_id,
        "metadata": message.metadata,
        "referenceTaskIds": message.reference_task_ids,
    }
    content = [_content(part) for part in message.parts]
    return Conversation(
        messages=[{"role": "user", "content": content}],
        fields={name: value for name, value in fields.items() if value is not UNSET and value is not None},
    )


def answer_in(message: Message, schema: dict[str, Any] | None) -> Any:
    """Return the answer to an agent's question that a message is: its data, else its text.

    Args:
        message: The message.
        schema: JSON Schema of the answer, None for any; if it wants no text, the text is taken for JSON.

    Raises:
        RpcError: The message has neither.
    """
    values = [part.value for part in message.parts if part.value is not UNSET]
    texts = [part.text for part in message.parts if part.text is not None]
    if len(values) == 1:
        return values[0]
    if values or not texts:
        raise RpcError(INVALID_PARAMS, "answer the agent's question with a text or one data part")
    text = "".join(texts)
    if schema is None or _takes_text(schema):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _takes_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", "string")
    return "string" in kinds if isinstance(kinds, list) else kinds == "string"


def _content(part: Part) -> dict[str, Any]:
    """Return a part as OpenAI's Chat Completions API writes it."""
    if part.text is not None:
        return {"type": "text", "text": part.text}
    if part.value is not UNSET:
        return {"type": "text", "text": msgspec.json.encode(part.value).decode()}
    file = part.file or File()
    data, url = part.raw or file.bytes, part.url or file.uri
    media_type = (part.media_type or file.mime_type or _DEFAULT_MEDIA_TYPE).lower()
    if data is None and url is None:
        raise RpcError(INVALID_PARAMS, "each part of a message needs a text, data, or the content of a file")
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url or f"data:{media_type};base64,{data}"}}
    if data is None:
        message = "send the bytes of files: only images can be URLs, with their media type"
        raise RpcError(CONTENT_TYPE_NOT_SUPPORTED, message)
    if sound := AUDIO_FORMATS.get(media_type):
        return {"type": "input_audio", "input_audio": {"data": data, "format": sound}}
    return {"type": "file", "file": {"file_data": f"data:{media_type};base64,{data}"}}
