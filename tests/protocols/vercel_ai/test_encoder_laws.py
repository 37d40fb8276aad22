"""The laws of encoders, and the order of chunks, over generated logs."""

import json

from hypothesis import given

from dockrion.events import Entry
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from tests.protocols.logs import RUN_ID, check_encoder, encoded, logs, messages_of
from tests.protocols.vercel_ai.streams import check_order, chunks_of

ENCODER = MessageEncoder(RUN_ID, "message-1")


@given(logs())
def test_every_prefix_of_a_stream_has_the_order_of_the_protocol(entries: list[Entry]) -> None:
    messages = check_encoder(ENCODER, entries)
    check_order(chunks_of(messages))


@given(logs(ended=True))
def test_stream_of_an_ended_run_leaves_nothing_open(entries: list[Entry]) -> None:
    frames, state = encoded(ENCODER, entries)
    messages = messages_of(frames)
    assert messages[-1].data == "[DONE]"
    assert (state.parts, state.calls) == ((), ())
    types = [chunk["type"] for chunk in chunks_of(messages)]
    assert types[-1] == ("abort" if entries[-1].type == "cancelled" else "finish")
    assert ("error" in types) == (entries[-1].type == "error")


@given(logs(ended=True))
def test_all_text_of_the_tokens_arrives(entries: list[Entry]) -> None:
    chunks = chunks_of(messages_of(encoded(ENCODER, entries)[0]))
    deltas = [chunk["delta"] for chunk in chunks if chunk["type"] == "reasoning-delta"]
    assert deltas == [json.loads(each.data)["content"] for each in entries if each.type == "reasoning"]
