"""Chat Completions: a run as chunks of a stream, or as one completion."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dockrion.backends.run_log import Run
from dockrion.errors import DockrionError, Gone, ServiceUnavailable, Unauthorized
from dockrion.events import Entry, control_frames
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols import State
from dockrion.protocols.growing_text import Chain, GrowingText, values_of
from dockrion.protocols.openai.chat_parts import Failed, Finished, Pieces, ReplyOptions, ReplyState
from dockrion.protocols.openai.chat_reply import advance
from dockrion.protocols.openai.errors import error_object
from dockrion.protocols.reply import INCOMPLETE
from dockrion.protocols.token_runs import continuing

_ERROR_OF_NOTICE: dict[type[Notice], type[DockrionError]] = {
    control_frames.AuthExpired: Unauthorized,
    control_frames.Gone: Gone,
}
_DONE = b"data: [DONE]\n\n"
_REMEMBERED = 256  # streams that are written at a time
_encode = msgspec.json.encode


class ChunkEncoder(msgspec.Struct, frozen=True):
    """Writes a run as the stream of chunks of a chat completion.

    Attributes:
        head: What every chunk begins with, up to its choices.
        options: What the reply contains.
        include_usage: Whether a last chunk has the run's usage, and `usage` is null in all others.
    """

    head: bytes
    options: ReplyOptions
    include_usage: bool = False

    def start(self) -> ReplyState:
        return ReplyState()

    def encode(self, state: ReplyState, entries: Sequence[Entry]) -> tuple[bytes, ReplyState]:
        if (continued := continuing(state.open_texts, entries)) is not None:
            return self._chunks("content", continued[1]), state
        parts, after = advance(self.options, state, entries)
        frames = [] if state.begun else [self._chunk(b'{"role":"assistant","content":""}')]
        calls = state.tool_calls
        for part in parts:
            if isinstance(part, Finished):
                frames.append(self._chunk(b"{}", _encode(part.reason)))
                if self.include_usage and part.usage is not None:
                    frames.append(b'%b[],"usage":%b}\n\n' % (self.head, _encode(part.usage)))
                frames.append(_DONE)
            elif isinstance(part, Failed):
                frames.append(_error_frame(part.message, part.code))
            elif part.field == "tool_calls":
                for index, call in enumerate(part.values, calls):
                    frames.append(self._chunk(b'{"tool_calls":[{"index":%d,%b]}' % (index, call[1:])))
                calls += len(part.values)
            else:
                frames.append(self._chunks(part.field, part.values))
        return b"".join(frames), after

    def encode_gap(self, state: ReplyState, gap: Gap) -> tuple[bytes, ReplyState]:
        ended = msgspec.structs.replace(state, origin=gap.first_available - 1, ended=True)
        return _error_frame(INCOMPLETE, Gone.code), ended

    def encode_notice(self, _state: ReplyState, notice: Notice) -> bytes:
        kind = _ERROR_OF_NOTICE.get(type(notice), ServiceUnavailable)
        return _error_frame(notice.message, kind.code)

    def _chunk(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        return b'%b[{"index":0,"delta":%b,"finish_reason":%b}]%b' % (
            self.head,
            delta,
            finish_reason,
            self._end,
        )

    def _chunks(self, field: str, values: list[bytes]) -> bytes:
        """Return one chunk for each value."""
        before, after = _around_delta(self.head, field, self._end)
        return before + (after + before).join(values) + after

    @property
    def _end(self) -> bytes:
        return b',"usage":null}\n\n' if self.include_usage else b"}\n\n"


class CompletionState(State, frozen=True, kw_only=True):
    """A reply so far.

    Attributes:
        reply: What is known of it.
        texts: Its texts, by their fields.
        calls: Its tool calls as JSON.
        end: How it ended, None before that.
    """

    reply: ReplyState = ReplyState()
    texts: dict[str, GrowingText] = msgspec.field(default_factory=dict)
    calls: Chain = ()
    end: Finished | Failed | None = None


class CompletionEncoder(msgspec.Struct, frozen=True):
    """Collects a run's reply in the state, for a response that is not a stream; it writes no frames.

    Attributes:
        options: What the reply contains.
    """

    options: ReplyOptions

    def start(self) -> CompletionState:
        return CompletionState()

    def encode(self, state: CompletionState, entries: Sequence[Entry]) -> tuple[bytes, CompletionState]:
        starts = [index for index, entry in enumerate(entries) if entry.type == "started"]
        if starts:  # what an earlier attempt has emitted is no part of the reply
            entries, state = entries[starts[-1] :], CompletionState(origin=state.origin)
        parts, reply = advance(self.options, state.reply, entries)
        texts, calls, end = dict(state.texts), state.calls, state.end
        for part in parts:
            if not isinstance(part, Pieces):
                end = part
            elif part.field == "tool_calls":
                for call in part.values:
                    calls = (calls, call)
            elif part.values:
                texts[part.field] = texts.get(part.field, GrowingText()).with_pieces(part.values)
        return b"", CompletionState(origin=state.origin, reply=reply, texts=texts, calls=calls, end=end)

    def encode_gap(self, _state: CompletionState, gap: Gap) -> tuple[bytes, CompletionState]:
        origin = gap.first_available - 1
        return b"", CompletionState(origin=origin, reply=ReplyState(incomplete=origin > 0))

    def encode_notice(self, _state: CompletionState, _notice: Notice) -> bytes:
        return b""


def head_of(run: Run, model: str) -> dict[str, Any]:
    """Return the fields with which a completion and its chunks begin, except `object`.

    Args:
        run: The run that is the completion.
        model: The model as the request named it.
    """
    return {"id": f"chatcmpl-{run.run_id}", "created": int(run.created_at.timestamp()), "model": model}


def chunk_head(head: dict[str, Any]) -> bytes:
    """Return `ChunkEncoder.head`."""
    return b'data: %b,"object":"chat.completion.chunk","choices":' % _encode(head)[:-1]


def completion(head: dict[str, Any], state: CompletionState, end: Finished) -> dict[str, Any]:
    """Return a completion.

    Args:
        head: As `head_of` returns it.
        state: The reply, after its end.
        end: How it ended.
    """
    texts = {field: msgspec.Raw(text.json()) for field, text in state.texts.items()}
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, **texts}
    if state.calls:
        message["tool_calls"] = [msgspec.Raw(call) for call in values_of(state.calls)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end.reason}
    usage = {} if end.usage is None else {"usage": end.usage}
    return head | {"object": "chat.completion", "choices": [choice], **usage}


@lru_cache(_REMEMBERED)
def _around_delta(head: bytes, field: str, end: bytes) -> tuple[bytes, bytes]:
    """Return what a chunk has before and after the value of a field of its delta."""
    return b'%b[{"index":0,"delta":{"%b":' % (head, field.encode()), b'},"finish_reason":null}]' + end


def _error_frame(message: str, code: str) -> bytes:
    return b"data: %b\n\n" % _encode(error_object(message, code))
