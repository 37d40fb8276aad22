"""The events of a run as the chunks of one UI message of the assistant."""

from collections.abc import Sequence

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols.token_runs import continuing
from dockrion.protocols.vercel_ai import chunks
from dockrion.protocols.vercel_ai.chunks import DONE, chunk, json_text
from dockrion.protocols.vercel_ai.message import MessageWriter
from dockrion.protocols.vercel_ai.state import MessageState
from dockrion.protocols.vercel_ai.writer import EventWriter


class MessageEncoder(msgspec.Struct, frozen=True):
    """Encodes the events of a run.

    Attributes:
        run_id: The run.
        message_id: The id of the message that the client builds.
        output_path: `agent.chat.output`.
    """

    run_id: str
    message_id: str
    output_path: str | None = None

    def start(self) -> MessageState:
        return MessageState()

    def encode(self, state: MessageState, entries: Sequence[Entry]) -> tuple[bytes, MessageState]:
        if (continued := continuing(state.open_texts, entries)) is not None:
            return chunks.deltas(b"text", *continued), state
        message = MessageWriter(self.run_id, self.message_id, state)
        writer = EventWriter(message, state, self.output_path)
        writer.write(entries)
        return b"".join(message.frames), writer.state

    def encode_gap(self, state: MessageState, gap: Gap) -> tuple[bytes, MessageState]:
        message = MessageWriter(self.run_id, self.message_id, state)
        lost = msgspec.json.encode(msgspec.structs.asdict(gap))
        message.finish_step(chunks.data_part(b"gap", lost), chunks.START_STEP)
        started = gap.first_available > 1
        return b"".join(message.frames), MessageState(origin=gap.first_available - 1, started=started)

    def encode_notice(self, state: MessageState, notice: Notice) -> bytes:
        message = MessageWriter(self.run_id, self.message_id, state)
        message.close_parts()
        message.frames += [chunk(b"error", errorText=json_text(notice.message)), DONE]
        return b"".join(message.frames)
