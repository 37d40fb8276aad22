"""Reader of A2A's responses: a task of the other server becomes a part of our run."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any, Literal

import msgspec

from dockrion import events
from dockrion.agents.responses import Begun, Interruption, Lost, Part, ProtocolError, check_size
from dockrion.agents.servers import a2a_messages
from dockrion.agents.servers.a2a_artifacts import Artifacts
from dockrion.agents.servers.a2a_objects import (
    OWN_METADATA,
    Artifact,
    ArtifactUpdate,
    Message,
    RpcError,
    Status,
    StatusUpdate,
    Task,
    task_in,
    update_in,
)
from dockrion.agents.servers.server_errors import error_of
from dockrion.errors import AgentDisconnected, AgentFailed
from dockrion.runs import external_events
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Cancelled, Failed, of_output
from dockrion.runs.question import Question, is_secret, seconds_until
from dockrion.wire import sse

_JSON = "application/json"
_METHOD_NOT_FOUND, _UNSUPPORTED_OPERATION = -32601, -32004
_GOING_AWAY = "DRAINING"  # with which a Dockrion that is shut down ends its streams
_SHOWN_OWN = frozenset(
    {"progress", "reasoning", "tool_call", "tool_result", "usage", "step", "checkpoint", "message"}
)
_FAILURES = {
    "failed": "the agent's server reports that its task has failed",
    "rejected": "the agent's server has rejected the task",
    "auth-required": "the agent's server demands an authentication that it does not get",
}
_AT_WORK = frozenset({"submitted", "working", "unspecified", "unknown"})
_REMEMBERED = 4096  # statuses that are recognized when they are told again
_SENDABLE = re.compile(r"[!-~]{1,256}")  # ids of frames that can be sent back in a header
_Parts = Iterator[Part]
# What a request was for: a message that begins a task, one that answers what it asks, what follows in it, or
# the task as it is.
_Purpose = Literal["message", "answer", "rest", "task"]


class A2aReader:
    """Reads the updates of a task, in all responses about it.

    After a lost connection, a server tells what follows the last frame that has an id, or begins with the
    task as it is, or with all that it has told. What was told before is recognized: text of artifacts by
    comparing it, files and statuses as such. A server that leaves out what came in between is not subscribed
    to: the task is requested again and again.

    Args:
        content_type: The media type of the first response.
    """

    def __init__(self, content_type: str) -> None:
        self._version = "1.0"
        self._streams = self._subscribes = True  # what the server can
        self._task: dict[str, str] = {}  # its `taskId` and `contextId`
        self._artifacts = Artifacts()
        self._last_id = ""  # that of the last frame, if it had one
        self._seen: dict[int, None] = {}  # statuses, the oldest first
        self._question = 0  # the last one that was asked, as a status
        self._answer: bytes | None = None  # the request with its answer, until that has arrived
        self._is_silent = False  # whether the server had nothing to tell when it was subscribed to
        self._reads("message", content_type)

    def feed(self, data: bytes) -> _Parts:
        if self._decoder is None:
            self._body += data
            check_size(len(self._body))
            return
        for message in self._decoder.feed(data):
            frame_id = message.id or ""
            self._last_id = frame_id if _SENDABLE.fullmatch(frame_id) else ""
            yield from self._read(message.data)
        check_size(self._decoder.pending)

    def end(self) -> _Parts:
        if self._decoder is None:
            yield from self._read(self._body)
        self._is_silent = self._purpose == "rest" and self._is_first
        failed = Failed("the agent's server ended its response before its task", AgentDisconnected.code)
        yield Lost(failed, alive=self._decoder is None)

    def _reads(self, purpose: _Purpose, content_type: str) -> "A2aReader":
        """Read another response next."""
        if content_type not in (sse.MEDIA_TYPE, _JSON):
            raise ProtocolError(
                f"the agent's server sent {content_type!r:.100}, not {sse.MEDIA_TYPE} or {_JSON}"
            )
        self._decoder = sse.Decoder() if content_type == sse.MEDIA_TYPE else None
        self._body = bytearray()
        self._purpose = purpose
        self._is_first = True  # whether the next update is the response's first one
        self._follows_frame = bool(self._last_id)  # whether the request has named one
        self._repeats = False  # whether what comes may have been told before
        return self

    def _follow(self) -> Interruption:
        """Return the request for what follows in the task."""
        task_id = self._task["taskId"]
        if self._is_silent or self._answer is not None or not self._subscribes:
            body = a2a_messages.getting_request(task_id, self._version)
            return Interruption([], lambda *_: body, partial(self._reads, "task"))
        body = a2a_messages.subscribing_request(task_id, self._version)
        return Interruption([], lambda *_: body, partial(self._reads, "rest"), self._position)

    @property
    def _position(self) -> dict[str, str]:
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    def _read(self, data: bytearray | str) -> _Parts:
        is_first, self._is_first = self._is_first, False
        update = task_in(data) if self._purpose == "task" else update_in(data)
        if isinstance(update, RpcError):
            yield self._refused(update, is_first=is_first)
        elif isinstance(update, Message):
            yield from self._artifacts.add(Artifact("message", update.parts), append=False)
            yield self._completed({})
        elif self._purpose == "rest" and is_first and not (self._follows_frame or isinstance(update, Task)):
            self._subscribes = False
            yield self._follow()
        else:
            yield from self._begin(
                update.id if isinstance(update, Task) else update.task_id, update.context_id
            )
            if isinstance(update, ArtifactUpdate):
                self._answer = self._answer if self._repeats else None
                yield from self._artifacts.add(update.artifact, append=update.append is True)
            elif isinstance(update, Task):
                yield from self._whole(update, is_first=is_first)
            else:
                yield from self._updated(update)

    def _begin(self, task_id: str, context_id: str | None) -> _Parts:
        known = self._task.get("taskId")
        if self._decoder is None and self._purpose != "task":  # the server does not stream
            self._subscribes = False
        if known is None:
            self._task = {"taskId": task_id} | ({"contextId": context_id} if context_id else {})
            yield Begun(a2a_messages.cancelling_request(task_id, self._version), self._follow)
        elif known != task_id:
            raise ProtocolError("the agent's server sent an update of another task")

    def _whole(self, task: Task, *, is_first: bool) -> _Parts:
        """Yield what a whole task has besides what was told."""
        artifacts, asks = task.artifacts or [], task.status.name == "input-required"
        is_asked = asks and _identity(task.status) == self._question
        if not (is_first and self._purpose in ("rest", "task")):
            for artifact in artifacts:
                yield from self._artifacts.add(artifact, append=False)
            may_be_old = is_first and self._purpose == "answer" and self._decoder is not None
            if not (may_be_old and asks):  # else it is the task as it was when it asked
                yield from self._updated(task)
            return
        self._repeats = True
        if self._purpose == "task" and not is_asked:
            self._answer = None
        goes_on = is_asked or task.status.name in _AT_WORK
        # What follows the last frame is told when the server is subscribed to, unless it had nothing to tell.
        is_told = self._purpose == "task" and self._subscribes and self._follows_frame
        if not (is_told and (goes_on or not self._is_silent)):
            yield from self._artifacts.go_on_from(artifacts)
            if not is_asked:
                yield from self._updated(task)
        if is_asked and (body := self._answer) is not None:
            yield Interruption([], lambda *_: body, partial(self._reads, "answer"), self._position)

    def _updated(self, update: Task | StatusUpdate) -> _Parts:
        status = _identity(update.status)
        if update.status.name in _AT_WORK or update.status.name == "input-required":
            if self._repeats and status in self._seen:
                return
            self._seen[status] = None
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
        self._answer = None
        if update.status.name == "input-required":
            self._question = status
        event = (update.metadata or {}).get(OWN_METADATA)
        yield from self._status(update.status, event if isinstance(event, dict) else {})

    def _status(self, status: Status, event: dict[str, Any]) -> _Parts:
        state, text = status.name, status.text
        if state in _AT_WORK:
            yield from self._working(text, event)
        elif state == "input-required":
            yield self._asks(text, event)
        elif state == "completed":
            if status.message is not None and text and not self._artifacts:
                yield from self._artifacts.add(Artifact("message", status.message.parts), append=False)
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
        output = self._artifacts.output
        if event.get("type") == "complete":
            return self._own({"type": "complete", "output": output, "metadata": event.get("metadata")})
        return of_output(output)

    def _asks(self, text: str, event: dict[str, Any]) -> Interruption:
        schema = event.get("schema")
        asked = Question(text, schema, _seconds_until(event), is_secret(schema))

        def resumed(_body: bytes, answers: list[Any]) -> bytes:
            if answers[0] is msgspec.UNSET:  # the agent goes on without
                return a2a_messages.subscribing_request(self._task["taskId"], self._version)
            self._answer = a2a_messages.answering_request(
                answers[0], self._task, self._version, streams=self._streams
            )
            return self._answer

        def reader_for(content_type: str) -> A2aReader:
            return self._reads("rest" if self._answer is None else "answer", content_type)

        return Interruption([asked], resumed, reader_for, self._position)

    def _refused(self, error: RpcError, *, is_first: bool) -> Part:
        code = error.reason
        failed = error_of({"message": error.message, "code": code or error.code})
        if code == _GOING_AWAY:
            return Lost(Failed("the agent's server is shutting down", AgentDisconnected.code))
        if self._purpose == "rest" and is_first:  # it cannot, or the task has ended
            self._subscribes = False
            return self._follow()
        if not self._task and (
            (error.code == _METHOD_NOT_FOUND and self._version == "1.0")
            or (error.code == _UNSUPPORTED_OPERATION and self._streams)
        ):
            if error.code == _METHOD_NOT_FOUND:
                self._version = "0.3"
            else:
                self._streams = False

            def resumed(body: bytes, _answers: list[Any]) -> bytes:
                return a2a_messages.converted_request(body, self._version, streams=self._streams)

            return Interruption([], resumed, partial(self._reads, "message"))
        return failed


def _identity(status: Status) -> int:
    """Return what tells a status from others of its task."""
    if status.message is not None and status.message.message_id:
        return hash((status.state, status.message.message_id))
    return hash((status.state, status.timestamp, status.text))


def _seconds_until(event: dict[str, Any]) -> float | None:
    """Return how long the question of a server that is a Dockrion can be answered, None for any time."""
    try:
        until = msgspec.convert(event.get("expires_at"), datetime | None)
    except msgspec.ValidationError:
        until = None
    if until is None or until.tzinfo is None:
        return None
    return seconds_until(until)
