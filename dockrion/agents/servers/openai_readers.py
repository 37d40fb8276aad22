"""Readers of chat completions: chunks in, events and an outcome out."""

from collections.abc import Iterator

import msgspec

from dockrion.agents.responses import Part, ProtocolError, check_size
from dockrion.agents.servers.openai_chunks import Chunk, Message, ToolCall, Usage, chunk_of
from dockrion.agents.servers.server_errors import error_of
from dockrion.agents.servers.tool_calls import OpenToolCall
from dockrion.errors import AgentDisconnected, AgentPolicyViolation
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Failed, of_output
from dockrion.wire import sse

_DONE = "[DONE]"
_FILTERED = "content_filter"
_MAX_TOOL_CALLS = 256
_CUT_OFF = "the agent's server ended its response in the middle of a reply"


class StreamReader:
    """Reads a stream of chunks.

    Args:
        model: The model that was asked for, None if that is unknown.
    """

    def __init__(self, model: str | None = None) -> None:
        self._decoder = sse.Decoder()
        self._reply = _Reply(model)
        self._count = 0

    def feed(self, data: bytes) -> Iterator[Part]:
        for message in self._decoder.feed(data):
            self._count += 1
            if message.data.strip() == _DONE:
                yield from self._reply.end()
                return
            yield from self._reply.add(chunk_of(message.data, f"chunk {self._count}"))
        check_size(self._decoder.pending)

    def end(self) -> Iterator[Part]:
        if self._reply.finished:
            yield from self._reply.end()
        else:
            yield Failed(_CUT_OFF, AgentDisconnected.code)


def read_completion(data: bytearray, model: str | None = None) -> Iterator[Part]:
    """Yield the events and the outcome of a completion that is not streamed.

    Args:
        data: The response.
        model: The model that was asked for, None if that is unknown.

    Raises:
        ProtocolError: It is malformed.
    """
    reply = _Reply(model)
    yield from reply.add(chunk_of(data, "the completion"))
    yield from reply.end()


class _Reply:
    """A reply so far.

    Tool calls are reported when they are whole: when text follows, or the reply ends.

    Attributes:
        finished: Whether the server has said why the reply ends.
    """

    def __init__(self, model: str | None = None) -> None:
        self.finished = False
        self._model = model
        self._begun = False
        self._text = bytearray()  # a list of short strings would take a multiple of their length
        self._refusal = bytearray()
        self._open: dict[int, OpenToolCall] = {}
        self._calls = 0
        self._size = 0
        self._usage: Usage | None = None
        self._finish_reason: str | None = None

    def add(self, chunk: Chunk) -> Iterator[Part]:
        """Yield the events of a chunk, or the error with which the reply ends."""
        if chunk.error is not None:
            yield error_of(chunk.error)
            return
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage  # some servers send the sum so far with each chunk
        for choice in chunk.choices or ():
            if not choice.index:
                self._begun = True
                yield from self._add_message(
                    choice.delta or choice.message or Message(), choice.finish_reason
                )

    def end(self) -> Iterator[Part]:
        """Yield what is left, and the outcome."""
        if not self._begun:
            raise ProtocolError("the agent's server sent no reply: there are no choices in its response")
        yield from self._end_calls()
        refusal = self._refusal.decode()
        filtered = bool(refusal) and self._finish_reason == _FILTERED
        if refusal and not filtered:
            yield self._token(refusal, None)
        if self._usage is not None:
            yield ExternalEvent("usage", self._usage.fields(self._model))
        yield Failed(refusal, AgentPolicyViolation.code) if filtered else of_output(self._text.decode())

    def _add_message(self, message: Message, finish_reason: str | None) -> Iterator[Part]:
        if reasoning := message.reasoning_content or message.reasoning:
            yield ExternalEvent("reasoning", {"content": reasoning})
        text = message.text
        if text:
            yield from self._end_calls()
        if text and not finish_reason:
            yield self._token(text, None)
        for call in message.tool_calls or ():
            yield from self._add_call(call)
        self._refusal += self._kept(message.refusal or "")
        if finish_reason:
            self.finished = True
            self._finish_reason = finish_reason
            yield from self._end_calls()
            yield self._token(text, finish_reason)

    def _token(self, text: str, finish_reason: str | None) -> Part:
        self._text += self._kept(text)
        return ExternalEvent("token", {"content": text, "finish_reason": finish_reason})

    def _add_call(self, call: ToolCall) -> Iterator[Part]:
        index = call.index
        if index is None:  # as some servers leave it out
            index = self._calls if call.id or not self._open else next(reversed(self._open))
        opened = self._open.get(index)
        if opened is not None and call.id and call.id != opened.id:  # some servers number all calls 0
            yield from self._end_calls()
            opened = None
        if opened is None:
            if self._calls == _MAX_TOOL_CALLS:
                raise ProtocolError(
                    f"the agent's server calls more than {_MAX_TOOL_CALLS} tools in one reply"
                )
            self._kept(call.id or "")
            opened = self._open[index] = OpenToolCall(call.id or f"call_{self._calls}")
            self._calls += 1
        if call.function is None:
            return
        if not opened.name:
            opened.name = call.function.name or ""
            self._kept(opened.name)
        arguments = call.function.arguments or ""
        if isinstance(arguments, dict):  # as some servers send them
            arguments = msgspec.json.encode(arguments).decode()
        opened.arguments += self._kept(arguments)

    def _end_calls(self) -> Iterator[Part]:
        calls, self._open = self._open, {}
        for call in calls.values():
            yield call.event()

    def _kept(self, text: str) -> bytes:
        """Count a text that is kept until the reply ends, and return it as bytes."""
        data = text.encode("utf-8", "replace")
        self._size += len(data)
        check_size(self._size)
        return data
