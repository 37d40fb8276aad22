"""The client's message while it is written: keeps the order that the client demands of its chunks.

A message starts before all else, a text has a start, deltas and an end, a tool's result has a call. A step
is a request to a model: the next one begins with what follows after the results of all tools.
"""

from collections.abc import Callable, Sequence

from dockrion.protocols.reply import MAX_OPEN_CALLS
from dockrion.protocols.vercel_ai import chunks
from dockrion.protocols.vercel_ai.chunks import FINISH_STEP, START_STEP, chunk, json_text, safe_json
from dockrion.protocols.vercel_ai.state import MessageState, Part, open_part

_MAX_PARTS = 32  # that are open at once; one too many ends the oldest
_NO_RESULT = b'"the run has ended before this tool returned"'
# A client does not run tools that are executed elsewhere, and need not know dynamic ones before.
_REMOTE = {"providerExecuted": b"true", "dynamic": b"true"}


class MessageWriter:
    """Writes chunks.

    Args:
        run_id: The run.
        message_id: The message's id.
        state: What is written already.

    Attributes:
        frames: What is written from now on.
        started: As in the state, like the following.
    """

    __slots__ = ("_message_id", "_run_id", "calls", "frames", "parts", "returned", "started")

    def __init__(self, run_id: str, message_id: str, state: MessageState) -> None:
        self._run_id = run_id
        self._message_id = message_id
        self.frames: list[bytes] = []
        self.started = state.started
        self.parts = state.parts
        self.calls = state.calls
        self.returned = state.returned

    def start(self) -> None:
        """Start the message and its first step, if that is not done."""
        if not self.started:
            self.started = True
            metadata = b'{"runId":%s}' % json_text(self._run_id)
            start = chunk(b"start", messageId=json_text(self._message_id), messageMetadata=metadata)
            self.frames += [start, START_STEP]

    def write(self, *frames: bytes) -> None:
        """Write chunks that may stand anywhere in the message."""
        self.start()
        self.frames += frames

    def write_content(self, *frames: bytes) -> None:
        """Write what a model says or does, in the next step if all tools of this one have returned."""
        self.start()
        if self.returned and not self.calls and not self.parts:
            self.returned = False
            self.frames += [FINISH_STEP, START_STEP]
        self.frames += frames

    def write_deltas(
        self, kind: bytes, sequence: int, message_id: str | None, source: str | None, texts: Sequence[bytes]
    ) -> int:
        """Write pieces of a model's message; start a part for them if there is none.

        Args:
            kind: As of the part.
            sequence: That of the first event.
            message_id: As of the part.
            source: As of the part.
            texts: The pieces, JSON.

        Returns:
            The id of the part.
        """
        part_id = open_part(self.parts, kind, message_id, source)
        if part_id is None:
            part_id = sequence
            self.close_parts(lambda part: part.message_id == message_id and part.source == source)
            if len(self.parts) == _MAX_PARTS:
                oldest = self.parts[0]
                self.close_parts(lambda part: part is oldest)
            self.write_content(chunks.edge(kind, part_id, b"start"))
            self.parts += (Part(kind, part_id, message_id, source),)
        self.frames.append(chunks.deltas(kind, part_id, texts))
        return part_id

    def write_text(self, sequence: int, text: bytes) -> None:
        """Write a whole text, JSON."""
        self.write_content(
            chunks.edge(b"text", sequence, b"start"),
            chunks.deltas(b"text", sequence, (text,)),
            chunks.edge(b"text", sequence, b"end"),
        )

    def write_call(self, call: bytes, name: bytes, arguments: bytes) -> None:
        """Write a call of a tool; all arguments are JSON."""
        fields = {"toolCallId": call, "toolName": name, **_REMOTE}
        self.write_content(
            chunk(b"tool-input-start", **fields),
            chunk(b"tool-input-available", **fields, input=safe_json(arguments)),
        )
        if call not in self.calls:
            if len(self.calls) == MAX_OPEN_CALLS:
                self.frames.append(_unanswered(self.calls[0]))
            self.calls = (*self.calls[-MAX_OPEN_CALLS + 1 :], call)

    def write_result(self, call: bytes, name: bytes, result: bytes, *, is_error: bool) -> None:
        """Write what a tool returned, or its error; all other arguments are JSON."""
        if call not in self.calls:  # a client refuses the result of a call that it does not know
            self.write_call(call, name, b"{}")
        if is_error:
            text = result if result.startswith(b'"') else json_text(result.decode())
            self.frames.append(chunk(b"tool-output-error", toolCallId=call, **_REMOTE, errorText=text))
        else:
            self.frames.append(
                chunk(b"tool-output-available", toolCallId=call, **_REMOTE, output=safe_json(result))
            )
        self.calls = tuple(each for each in self.calls if each != call)
        self.returned = True

    def close_parts(self, which: Callable[[Part], bool] = lambda _: True) -> None:
        """End the texts and the reasoning that have not ended, or some of them."""
        kept = []
        for part in self.parts:
            if which(part):
                self.frames.append(chunks.edge(part.kind, part.part_id, b"end"))
            else:
                kept.append(part)
        self.parts = tuple(kept)

    def finish_step(self, *frames: bytes) -> None:
        """End whatever has not ended, and the step; then write chunks."""
        self.start()
        self.close_parts()
        self.frames += map(_unanswered, self.calls)
        self.calls = ()
        self.returned = False
        self.frames += [FINISH_STEP, *frames]


def _unanswered(call: bytes) -> bytes:
    """Return the chunk that ends a call whose result is not known."""
    return chunk(b"tool-output-error", toolCallId=call, **_REMOTE, errorText=_NO_RESULT)
