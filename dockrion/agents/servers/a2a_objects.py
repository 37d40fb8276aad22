"""What servers of A2A respond, in both versions of the protocol."""

from typing import Any, TypeVar

import msgspec

from dockrion.agents.responses import ProtocolError

OWN_METADATA = "dockrion"  # the field of `metadata` with the event, if the server is a Dockrion
_Value = TypeVar("_Value")
_PREFIX = "TASK_STATE_"  # of the states of version 1.0


class _Object(msgspec.Struct, rename="camel"):
    pass


class File(_Object):
    """The content of a `file` part of version 0.3."""

    bytes: str | None = None
    uri: str | None = None
    mime_type: str | None = None
    name: str | None = None


class Part(_Object):
    text: str | None = None
    raw: str | None = None
    url: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    file: File | None = None
    media_type: str | None = None
    filename: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def value(self) -> bytes | None:
        """The value of a `data` part as JSON, None of another part."""
        if not bytes(self.data):
            return None
        if (self.metadata or {}).get("data_part_compat") is True:
            return bytes(_decoded(self.data, _Wrapped).value)
        return bytes(self.data)

    @property
    def file_fields(self) -> dict[str, str]:
        """Of a part that is a file: its content or address, its media type and name."""
        file = self.file or File()
        fields = {
            "bytes": self.raw or file.bytes,
            "url": self.url or file.uri,
            "media_type": self.media_type or file.mime_type,
            "name": self.filename or file.name,
        }
        return {name: value for name, value in fields.items() if value}


class _Wrapped(msgspec.Struct):
    """How a2a-sdk writes in version 0.3 what is no object."""

    value: msgspec.Raw


class Message(_Object):
    parts: list[Part] = []
    message_id: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self.parts)


class Status(_Object):
    state: str
    message: Message | None = None
    timestamp: str | None = None

    @property
    def name(self) -> str:
        """The state as version 0.3 names it."""
        return self.state.removeprefix(_PREFIX).lower().replace("_", "-")

    @property
    def text(self) -> str:
        return self.message.text if self.message else ""


class Artifact(_Object):
    artifact_id: str
    parts: list[Part] = []


class Task(_Object):
    id: str
    status: Status
    context_id: str | None = None
    artifacts: list[Artifact] | None = None
    metadata: dict[str, Any] | None = None


class StatusUpdate(_Object):
    task_id: str
    status: Status
    context_id: str | None = None
    metadata: dict[str, Any] | None = None


class ArtifactUpdate(_Object):
    task_id: str
    artifact: Artifact
    context_id: str | None = None
    append: bool | None = None


Update = Task | Message | StatusUpdate | ArtifactUpdate


class RpcError(_Object):
    code: int
    message: str = ""
    data: Any = None

    @property
    def reason(self) -> str | None:
        """The code in its details that tells what has happened, None for none."""
        for each in self.data if isinstance(self.data, list) else [self.data]:
            info = each if isinstance(each, dict) else {}
            for reason in (info.get("code"), info.get("reason")):
                if isinstance(reason, str):
                    return reason
        return None


class _Result(_Object):
    """A result of version 1.0: one of its fields."""

    task: Task | None = None
    message: Message | None = None
    status_update: StatusUpdate | None = None
    artifact_update: ArtifactUpdate | None = None


class _Kind(msgspec.Struct):
    kind: str | None = None


class _Response(_Object):
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None


_KINDS: dict[str, type[Update]] = {
    "task": Task,
    "message": Message,
    "status-update": StatusUpdate,
    "artifact-update": ArtifactUpdate,
}


def update_in(data: bytes | bytearray | str) -> Update | RpcError:
    """Return what a response of JSON-RPC has.

    Raises:
        ProtocolError: It is malformed.
    """
    response = _decoded(data, _Response)
    if response.error is not None:
        return response.error
    if bytes(response.result):
        return _update(response.result)
    raise ProtocolError("the agent's server sent neither a result nor an error of JSON-RPC")


def task_in(data: bytes | bytearray | str) -> Task | RpcError:
    """Return the task that a response of JSON-RPC has.

    Raises:
        ProtocolError: It has none.
    """
    response = _decoded(data, _Response)
    return response.error if response.error is not None else _decoded(response.result, Task)


def _update(result: msgspec.Raw) -> Update:
    kind = _decoded(result, _Kind).kind
    if kind is not None:
        if kind not in _KINDS:
            raise ProtocolError(f"the agent's server sent a result of the kind {kind!r:.100}")
        return _decoded(result, _KINDS[kind])
    found = _decoded(result, _Result)
    update = found.task or found.message or found.status_update or found.artifact_update
    if update is None:
        raise ProtocolError("the agent's server sent a result that is no task, message or update")
    return update


def decoded_value(data: bytes) -> Any:
    """Return a JSON value.

    Raises:
        ProtocolError: It is malformed.
    """
    return _decoded(data, object)


def _decoded(data: bytes | bytearray | str | msgspec.Raw, kind: type[_Value]) -> _Value:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"the agent's server sent a malformed response: {error}") from error
