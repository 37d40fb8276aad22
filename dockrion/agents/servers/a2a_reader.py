"""Reader of A2A's responses: a task of the other server becomes a part of our run."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion import events
from dockrion.agents.response_readers import Begun, Interruption, Part, ProtocolError, check_size
from dockrion.agents.servers import a2a_messages
from dockrion.agents.servers.a2a_objects import (
    OWN_METADATA,
    Artifact,
    ArtifactUpdate,
    Message,
    RpcError,
    Status,
    Task,
    decoded_value,
    update_in,
)
from dockrion.agents.servers.server_errors import error_of
from dockrion.errors import AgentDisconnected, AgentFailed
from dockrion.runs import external_events
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Cancelled, Failed, of_output
from dockrion.runs.question import MAX_TIMEOUT, Question
from dockrion.wire import sse

_JSON = "application/json"
_METHOD_NOT_FOUND, _UNSUPPORTED_OPERATION = -32601, -32004
_SHOWN_OWN = frozenset(
    {"progress", "reasoning", "tool_call", "tool_result", "usage", "step", "checkpoint", "message"}
)
_ARTIFACT_BYTES = 256  # what an artifact takes besides its content
_FAILURES = {
    "failed": "the agent's server reports that its task has failed",
    "rejected": "the agent's server has rejected the task",
    "auth-required": "the agent's server demands an authentication that it does not get",
}
_SHORTEST = 0.001  # seconds to answer a question that has expired
_Parts = Iterator[Part]


class A2aReader:
    """Reads the updates of a task, in all responses about it.

    Args:
        content_type: The media type of the first response.
    """

    def __init__(self, content_type: str) -> None:
        self._version = "1.0"
        self._streams = True
        self._task: dict[str, str] = {}  # its `taskId` and `contextId`
        self._texts: dict[str, bytearray] = {}  # of artifacts
        self._values: dict[str, list[bytes]] = {}  # of artifacts, as JSON
        self._kept = 0
        self.for_response(content_type)

    def for_response(self, content_type: str) -> "A2aReader":
        """Read another response next.

        Raises:
            ProtocolError: The server does not respond with this media type.
        """
        if content_type not in (sse.MEDIA_TYPE, _JSON):
            raise ProtocolError(
                f"the agent's server sent {content_type!r:.100}, not {sse.MEDIA_TYPE} or {_JSON}"
            )
        self._decoder = sse.Decoder() if content_type == sse.MEDIA_TYPE else None
        self._body = bytearray()
        self._repeats = bool(self._task)  # whether the task may come first as it was when it asked
        return self

    def feed(self, data: bytes) -> _Parts:
        if self._decoder is None:
            self._body += data
            check_size(len(self._body))
            return
        for message in self._decoder.feed(data):
            yield from self._read(message.data)
        check_size(self._decoder.pending)

    def end(self) -> _Parts:
        if self._decoder is None:
            self._repeats = False
            yield from self._read(self._body)
        yield Failed("the agent's server ended its response before its task", AgentDisconnected.code)

    def _read(self, data: bytearray | str) -> _Parts:
        update, repeats = update_in(data), self._repeats
        self._repeats = False
        if isinstance(update, RpcError):
            yield self._refused(update)
        elif isinstance(update, Message):
            yield from self._add(Artifact("message", update.parts), append=False)
            yield self._completed({})
        else:
            yield from self._begin(
                update.id if isinstance(update, Task) else update.task_id, update.context_id
            )
            if isinstance(update, ArtifactUpdate):
                yield from self._add(update.artifact, append=update.append is True)
                return
            for artifact in (update.artifacts or ()) if isinstance(update, Task) else ():
                yield from self._add(artifact, append=False)
            if not (repeats and isinstance(update, Task) and update.status.name == "input-required"):
                event = (update.metadata or {}).get(OWN_METADATA)
                yield from self._status(update.status, event if isinstance(event, dict) else {})

    def _begin(self, task_id: str, context_id: str | None) -> _Parts:
        known = self._task.get("taskId")
        if known is None:
            self._task = {"taskId": task_id} | ({"contextId": context_id} if context_id else {})
            yield Begun(a2a_messages.cancelling_request(task_id, self._version))
        elif known != task_id:
            raise ProtocolError("the agent's server sent an update of another task")

    def _add(self, artifact: Artifact, *, append: bool) -> _Parts:
        """Yield what an artifact has besides what was shown."""
        name = artifact.artifact_id
        if name not in self._texts:
            self._keep(len(name) + _ARTIFACT_BYTES)
        shown, values = self._texts.setdefault(name, bytearray()), self._values.setdefault(name, [])
        text = "".join(part.text or "" for part in artifact.parts).encode("utf-8", "replace")
        if not append:
            if text.startswith(shown):
                text = text[len(shown) :]
            else:
                self._keep(-len(shown))
                shown.clear()
            self._keep(-sum(map(len, values)))
            values.clear()
        if text:
            self._keep(len(text))
            shown += text
            yield ExternalEvent("token", {"content": text.decode("utf-8", "replace"), "message_id": name})
        for part in artifact.parts:
            if (value := part.value) is not None:
                self._keep(len(value) + _ARTIFACT_BYTES)
                values.append(value)
            elif fields := part.file_fields:
                yield ExternalEvent("custom:file", {"artifact_id": name, **fields})

    def _status(self, status: Status, event: dict[str, Any]) -> _Parts:
        state, text = status.name, status.text
        if state in ("submitted", "working", "unspecified", "unknown"):
            yield from self._working(text, event)
        elif state == "input-required":
            yield self._question(text, event)
        elif state == "completed":
            if text and not any(self._texts.values()) and not any(self._values.values()):
                yield from self._add(
                    Artifact("message", status.message.parts if status.message else []), append=False
                )
            yield self._completed(event)
        elif state == "canceled":
            yield Cancelled(text[: events.MAX_REASON_LENGTH] or None)
        elif state in _FAILURES:
            said = _FAILURES[state]
            if state != "failed" and text:
                said = f"{said}: {text}"
            yield (
                self._own(event)
                if event.get("type") == "error"
                else Failed(said if state != "failed" else text or said, AgentFailed.code)
            )
        else:
            raise ProtocolError(f"the agent's server sent a task in the state {state!r:.100}")

    def _working(self, text: str, event: dict[str, Any]) -> _Parts:
        kind = event.get("type")
        if isinstance(kind, str):
            if kind in _SHOWN_OWN or kind.startswith(events.CUSTOM_PREFIX):
                yield self._own(event)
        elif text:
            yield ExternalEvent("progress", {"step": "working", "progress": 0.0, "message": text})

    def _own(self, event: dict[str, Any]) -> Part:
        """Return an event of a server that is a Dockrion."""
        try:
            parsed = external_events.parse(event)
        except ValueError as error:
            raise ProtocolError(f"an event of the agent's server: {error}") from error
        return parsed.outcome or parsed

    def _completed(self, event: dict[str, Any]) -> Part:
        values = [value for each in self._values.values() for value in each]
        if values:
            array = b"[%b]" % b",".join(values)
            output = decoded_value(values[0] if len(values) == 1 else array)
        else:
            output = b"\n\n".join(filter(None, self._texts.values())).decode() or None
        if event.get("type") == "complete":
            return self._own({"type": "complete", "output": output, "metadata": event.get("metadata")})
        return of_output(output)

    def _question(self, text: str, event: dict[str, Any]) -> Interruption:
        asked = Question(text, event.get("schema"), _seconds_until(event), event.get("secret") is True)

        def resumed(_body: bytes, answers: list[Any] | None) -> bytes:
            if answers is None:  # the agent goes on without
                return a2a_messages.subscribing_request(self._task["taskId"], self._version)
            return a2a_messages.answering_request(
                answers[0], self._task, self._version, streams=self._streams
            )

        return Interruption([asked], resumed, self.for_response)

    def _refused(self, error: RpcError) -> Part:
        if not self._task and (
            (error.code == _METHOD_NOT_FOUND and self._version == "1.0")
            or (error.code == _UNSUPPORTED_OPERATION and self._streams)
        ):
            if error.code == _METHOD_NOT_FOUND:
                self._version = "0.3"
            else:
                self._streams = False

            def resumed(body: bytes, _answers: list[Any] | None) -> bytes:
                return a2a_messages.asked_otherwise(body, self._version, streams=self._streams)

            return Interruption([], resumed, self.for_response)
        code = error.data.get("code") if isinstance(error.data, dict) else None
        return error_of({"message": error.message, "code": code or error.code})

    def _keep(self, size: int) -> None:
        self._kept += size
        check_size(self._kept)


def _seconds_until(event: dict[str, Any]) -> float | None:
    """Return how long the question of a server that is a Dockrion can be answered, None for any time."""
    try:
        until = msgspec.convert(event.get("expires_at"), datetime | None)
    except msgspec.ValidationError:
        until = None
    if until is None or until.tzinfo is None:
        return None
    return min(max((until - datetime.now(UTC)).total_seconds(), _SHORTEST), MAX_TIMEOUT)
