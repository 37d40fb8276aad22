"""The objects of A2A as JSON, in both versions of the protocol."""

from functools import lru_cache
from typing import Any, Literal

import msgspec

from dockrion.protocols.json_rpc import Id
from dockrion.protocols.numbered_frames import text_format

Version = Literal["1.0", "0.3"]
TaskState = Literal["submitted", "working", "input-required", "completed", "failed", "canceled"]
ENDED: frozenset[TaskState] = frozenset({"completed", "failed", "canceled"})
METADATA = "dockrion"  # the field of `metadata` that has the event of the run's log
_REPLY, _OUTPUT = "reply", "output"  # ids of artifacts
_REMEMBERED = 256  # streams that are written at a time
Object = dict[str, Any]
_PLACE = b"\0"  # of a value in a format; no JSON has this byte
_encode = msgspec.json.Encoder().encode


class TaskIds(msgspec.Struct, frozen=True):
    """The ids of a task.

    Attributes:
        task_id: The run.
        context_id: The conversation that it belongs to, as the client names it.
    """

    task_id: str
    context_id: str


class Status(msgspec.Struct, frozen=True, gc=False):
    """A task's status.

    Attributes:
        state: The state.
        timestamp: Since when, as JSON.
        message: What the agent says about it, as JSON; None for nothing.
        message_id: The id of that message, as JSON.
        event: The event of the log that says it, as JSON; None if none does.
    """

    state: TaskState
    timestamp: bytes | None = None
    message: bytes | None = None
    message_id: bytes = b'""'
    event: bytes | None = None


class Writer(msgspec.Struct, frozen=True):
    """Writes the objects of one task for one request.

    Attributes:
        version: The version of the protocol.
        ids: The ids of the task.
        request_id: That of the request of JSON-RPC which is answered.
    """

    version: Version
    ids: TaskIds
    request_id: Id = None

    def status_update(self, status: Status) -> bytes:
        """Return the response with which a stream tells a status."""
        update = self.update_of(status)
        if self.version == "0.3":
            update["final"] = status.state in ENDED or status.state == "input-required"
        return self._response("statusUpdate", "status-update", update)

    def status_format(self, state: TaskState, *, has_message: bool) -> bytes:
        """Return the format of frames with statuses that events tell.

        Its arguments are the sequence of the event, the frame's number, with a message its id and the
        message, the timestamp and the event.
        """
        return _status_format(self, state, has_message)

    def update_of(self, status: Status) -> Object:
        """Return the update that tells a status, in version 1.0."""
        return self._of_task() | {"status": self._status(status)} | _metadata(status)

    def output_update(self, output: bytes) -> bytes:
        """Return the response with which a stream shows the agent's output, JSON."""
        update = self._of_task() | {"artifact": self._output(output), "lastChunk": True}
        return self._response("artifactUpdate", "artifact-update", update)

    def reply_format(self, *, append: bool) -> bytes:
        """Return the format of frames with pieces of the reply, see `text_format`.

        Args:
            append: Whether they go on with it; else the reply starts over.
        """
        return _reply_format(self, append)

    def task_response(self, task: Object) -> bytes:
        """Return the response with which a stream, or a message that was sent, shows the whole task."""
        return self._response("task", "task", task)

    def result(self, task: Object) -> Object:
        """Return the result of a method that returns a task."""
        return task | {"kind": "task"} if self.version == "0.3" else task

    def task(self, status: Status, reply: bytes | None = None, output: bytes | None = None) -> Object:
        """Return a task.

        Args:
            status: Its status.
            reply: What the agent has said so far, as JSON; None for nothing.
            output: Its output as JSON, None for none besides that.
        """
        artifacts = [] if reply is None else [self._artifact(_REPLY, self._text_part(reply))]
        artifacts += [] if output is None else [self._output(output)]
        task = {
            "id": self.ids.task_id,
            "contextId": self.ids.context_id,
            "status": self._status(status),
            **({"artifacts": artifacts} if artifacts else {}),
        }
        return task | _metadata(status)

    def _status(self, status: Status) -> Object:
        name: str = status.state
        if self.version == "1.0":
            name = state_in_1_0(status.state)
        written: Object = {"state": name}
        if status.message is not None:
            message: Object = {"messageId": msgspec.Raw(status.message_id), **self._of_task()}
            message |= {"parts": [self._text_part(status.message)]}
            message |= (
                {"role": "ROLE_AGENT"} if self.version == "1.0" else {"role": "agent", "kind": "message"}
            )
            written["message"] = message
        if status.timestamp is not None:
            written["timestamp"] = msgspec.Raw(status.timestamp)
        return written

    def _of_task(self) -> Object:
        return {"taskId": self.ids.task_id, "contextId": self.ids.context_id}

    def _text_part(self, text: bytes) -> Object:
        part: Object = {} if self.version == "1.0" else {"kind": "text"}
        return part | {"text": msgspec.Raw(text)}

    def _output(self, output: bytes) -> Object:
        value: Any = msgspec.Raw(output)
        if self.version == "1.0":
            return self._artifact(_OUTPUT, {"data": value, "mediaType": "application/json"})
        if output.startswith(b"{"):
            return self._artifact(_OUTPUT, {"kind": "data", "data": value})
        # 0.3 has objects only; this is how a2a-sdk writes other values.
        part = {"kind": "data", "data": {"value": value}, "metadata": {"data_part_compat": True}}
        return self._artifact(_OUTPUT, part)

    def _artifact(self, artifact_id: str, part: Object) -> Object:
        return {"artifactId": artifact_id, "name": artifact_id, "parts": [part]}

    def _response(self, field: str, kind: str, value: Object) -> bytes:
        result = {field: value} if self.version == "1.0" else value | {"kind": kind}
        return _encode({"jsonrpc": "2.0", "id": self.request_id, "result": result})


def state_in_1_0(state: str) -> str:
    """Return the name of a state in version 1.0."""
    return f"TASK_STATE_{state.upper().replace('-', '_')}"


@lru_cache(_REMEMBERED)
def _reply_format(writer: Writer, append: bool) -> bytes:
    mark = "text"
    part = {"kind": "text", "text": mark} if writer.version == "0.3" else {"text": mark}
    artifact = {"artifactId": _REPLY, "name": _REPLY, "parts": [part]}
    update: Object = {"taskId": writer.ids.task_id, "contextId": writer.ids.context_id}
    update |= {"append": True} if append else {}
    if writer.version == "1.0":
        result: Object = {"artifactUpdate": update | {"artifact": artifact}}
    else:
        result = {"kind": "artifact-update", **update, "artifact": artifact}
    before, _, after = _encode({"jsonrpc": "2.0", "id": writer.request_id, "result": result}).rpartition(
        b'"text"'
    )
    return text_format(before, after)


@lru_cache(_REMEMBERED)
def _status_format(writer: Writer, state: TaskState, has_message: bool) -> bytes:
    message = _PLACE if has_message else None
    response = writer.status_update(Status(state, _PLACE, message, _PLACE, _PLACE))
    return b"id: %%d.%%d\ndata: %b\n\n" % response.replace(b"%", b"%%").replace(_PLACE, b"%b")


def _metadata(status: Status) -> Object:
    return {} if status.event is None else {"metadata": {METADATA: msgspec.Raw(status.event)}}
