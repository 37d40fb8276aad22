"""Responses read the same for any split of their bytes and any content."""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockrion.agents.responses import Part, ProtocolError
from dockrion.runs.external_events import ExternalEvent
from tests.agents.servers.test_dockrion_readers import JSON, NDJSON, SSE, TYPES, read

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
texts = st.text(st.characters(codec="utf-8"), max_size=10)
names = st.sampled_from(
    [
        "message",
        "token",
        "progress",
        "step",
        "checkpoint",
        "heartbeat",
        "started",
        "complete",
        "error",
        "cancelled",
        "custom:a",
        "custom:",
        "own",
        "gap",
    ]
)
fields = st.sampled_from(
    [
        "type",
        "content",
        "finish_reason",
        "step",
        "progress",
        "message",
        "node_name",
        "duration_ms",
        "input_keys",
        "output_keys",
        "name",
        "data",
        "output",
        "metadata",
        "latency_seconds",
        "error",
        "code",
        "details",
        "reason",
        "choices",
        "delta",
        "id",
        "run_id",
        "sequence",
        "timestamp",
    ]
)
events = st.dictionaries(fields, names | values, max_size=5)
good = st.one_of(
    st.builds(lambda text: {"type": "token", "content": text}, texts),
    st.builds(lambda data: {"type": "checkpoint", "name": "n", "data": data}, values),
    st.builds(lambda data: {"type": "custom:own", "value": data}, values),
    st.just({"type": "heartbeat"}),
)


def said(content_type: str, pieces: list[bytes]) -> list[Part] | str:
    try:
        return read(content_type, pieces)
    except ProtocolError as error:
        return str(error)


def as_sent(part: Part) -> dict[str, Any]:
    assert isinstance(part, ExternalEvent), part
    return {"type": part.type, **part.values}


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(each % (len(data) + 1) for each in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def framed(event: dict[str, Any], newline: bytes) -> bytes:
    name = str(event["type"]).encode()
    data = msgspec.json.encode({key: value for key, value in event.items() if key != "type"})
    return b"event: " + name + newline + b"data: " + data + newline + newline


cuts = st.lists(st.integers(0, 10_000), max_size=6)
ends = st.sampled_from([{"type": "complete", "output": "o"}, {"type": "error", "error": "e"}, None])


@settings(max_examples=75)
@given(sent=st.lists(good, max_size=5), end=ends, newline=st.sampled_from([b"\n", b"\r\n", b"\r"]), cuts=cuts)
def test_event_stream_reads_the_same_for_any_split(
    sent: list[dict[str, Any]], end: dict[str, Any] | None, newline: bytes, cuts: list[int]
) -> None:
    body = b"".join(framed(event, newline) for event in [*sent, *([end] if end else [])])
    whole = said(SSE, [body])
    assert isinstance(whole, list)
    assert [as_sent(part) for part in whole[:-1]] == sent
    assert said(SSE, bytewise(body)) == whole
    assert said(SSE, cut(body, cuts)) == whole


@settings(max_examples=75)
@given(
    sent=st.lists(good, max_size=5),
    end=ends,
    newline=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    last=st.booleans(),
    cuts=cuts,
)
def test_lines_read_the_same_for_any_split(
    sent: list[dict[str, Any]], end: dict[str, Any] | None, newline: bytes, last: bool, cuts: list[int]
) -> None:
    body = newline.join(map(msgspec.json.encode, [*sent, *([end] if end else [])])) + (
        newline if last else b""
    )
    whole = said(NDJSON, [body])
    assert isinstance(whole, list)
    assert [as_sent(part) for part in whole[:-1]] == sent
    assert said(NDJSON, bytewise(body)) == whole
    assert said(NDJSON, cut(body, cuts)) == whole


@settings(max_examples=100)
@given(value=values, cuts=cuts)
def test_json_reads_the_same_for_any_split(value: Any, cuts: list[int]) -> None:
    body = msgspec.json.encode(value)
    whole = said(JSON, [body])
    assert said(JSON, bytewise(body)) == whole
    assert said(JSON, cut(body, cuts)) == whole


tokens = st.lists(texts, min_size=1, max_size=6)


@settings(max_examples=100)
@given(contents=tokens, cuts=cuts, newline=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_openai_chunks_read_the_same_for_any_split(
    contents: list[str], cuts: list[int], newline: bytes
) -> None:
    chunks = [msgspec.json.encode({"choices": [{"delta": {"content": each}}]}) for each in contents]
    body = b"".join(b"data: " + each + newline * 2 for each in [*chunks, b"[DONE]"])
    whole = said(SSE, [body])
    assert isinstance(whole, list)
    assert [as_sent(part)["content"] for part in whole[:-1]] == [each for each in contents if each]
    assert said(SSE, bytewise(body)) == whole
    assert said(SSE, cut(body, cuts)) == whole


@settings(max_examples=150)
@given(name=names | texts, value=events | values)
@example(name="message", value={"error": {"message": None}})
@example(name="message", value={"choices": [{"delta": {"content": 1}, "finish_reason": []}]})
def test_any_value_is_an_event_or_a_protocol_error(name: str, value: Any) -> None:
    data = msgspec.json.encode(value)
    line = name.replace("\r", "").replace("\n", "").encode("utf-8", "replace")
    for content_type, body in (
        (SSE, b"event: " + line + b"\ndata: " + data + b"\n\n"),
        (NDJSON, data + b"\n"),
    ):
        with suppress(ProtocolError):
            read(content_type, [body])


@settings(max_examples=150)
@given(content_type=st.sampled_from(TYPES), body=st.binary(max_size=200), cuts=cuts)
def test_any_bytes_read_the_same_for_any_split(content_type: str, body: bytes, cuts: list[int]) -> None:
    whole = said(content_type, [body])
    assert said(content_type, bytewise(body)) == whole
    assert said(content_type, cut(body, cuts)) == whole


@pytest.mark.parametrize(
    "data",
    [
        b'"\\ud800"',
        b"1" * 5000,
        b"1e999",
        b"-0",
        b"18446744073709551616",
        b"[" * 5000,
        b"\xff",
        b"\xed\xa0\x80",
    ],
)
@pytest.mark.parametrize(
    "form", [b"%s", b'{"type":"token","content":%s}', b'{"type":"complete","output":%s}']
)
@pytest.mark.parametrize("content_type", TYPES)
def test_unusual_json_is_read_or_a_protocol_error(content_type: str, form: bytes, data: bytes) -> None:
    body = form % data
    body = b"data: " + body + b"\n\n" if content_type == SSE else body
    with suppress(ProtocolError):
        read(content_type, bytewise(body) if len(body) < 100 else [body])
