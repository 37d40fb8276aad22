"""The events of a run as the chunks of one UI message of the assistant."""

from collections.abc import Sequence

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control, Gap
from dockrion.protocols.token_runs import grouped, only_tokens
from dockrion.protocols.vercel_ai import chunks
from dockrion.protocols.vercel_ai.chunks import DONE, chunk, json_text
from dockrion.protocols.vercel_ai.message import MessageWriter
from dockrion.protocols.vercel_ai.state import MessageState, open_part
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
        if state.parts and (run := only_tokens(entries)) is not None:
            texts, origin = run
            message_id, source = origin.message_id or None, origin.source or None
            part_id = open_part(state.parts, b"text", message_id, source)
            if part_id is not None:
                shown = state.shown.after_token(message_id or "", source or "")
                after = state if shown is state.shown else msgspec.structs.replace(state, shown=shown)
                return chunks.deltas(b"text", part_id, texts), after
        message = MessageWriter(self.run_id, self.message_id, state)
        writer = EventWriter(message, state, self.output_path)
        for entry, run in grouped(entries):
            if run is not None:
                writer.write_tokens(entry.sequence, *run)
            else:
                writer.write(entry)
        return b"".join(message.frames), writer.state

    def encode_gap(self, state: MessageState, gap: Gap) -> tuple[bytes, MessageState]:
        message = MessageWriter(self.run_id, self.message_id, state)
        lost = msgspec.json.encode(msgspec.structs.asdict(gap))
        message.finish_step(chunks.data_part(b"gap", lost), chunks.START_STEP)
        started = gap.first_available > 1
        return b"".join(message.frames), MessageState(origin=gap.first_available - 1, started=started)

    def encode_control(self, state: MessageState, control: Control) -> bytes:
        message = MessageWriter(self.run_id, self.message_id, state)
        text = str(msgspec.structs.asdict(control)["message"])
        message.close_parts()
        message.frames += [chunk(b"error", errorText=json_text(text)), DONE]
        return b"".join(message.frames)
