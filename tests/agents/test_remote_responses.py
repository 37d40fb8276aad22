"""Responses of well-behaved agent processes."""

from typing import Any

import msgspec
import pytest

from tests.agents.harness import bench
from tests.agents.processes import (
    JSON,
    NDJSON,
    SSE,
    ReceivedRequest,
    Wire,
    bytes_of,
    process,
    remote,
    run_against,
    run_with_response,
    served,
)

EVENTS: list[dict[str, Any]] = [
    {"type": "progress", "step": "read", "progress": 0.5, "message": None},
    {"type": "token", "content": "Hé", "finish_reason": None},
    {"type": "step", "node_name": "n", "duration_ms": 1.5, "input_keys": ["a"], "output_keys": []},
    {"type": "checkpoint", "name": "c", "data": {"deep": [1, None]}},
    {"type": "heartbeat"},
    {"type": "custom:seen", "what": ["x"]},
]
COMPLETE = {"type": "complete", "output": {"done": True}}


def as_sse(event: dict[str, Any]) -> bytes:
    fields = {name: value for name, value in event.items() if name != "type"}
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(fields))


def as_line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event) + b"\n"


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"a": [1, "\xc3\xa9"]}', {"a": [1, "é"]}),
        (b"null", None),
        (b' "text" \n', "text"),
        (b'{"type":"error","error":"only text here"}', {"type": "error", "error": "only text here"}),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "application/ld+json"])
async def test_json_is_the_output(content_type: str, body: bytes, output: Any) -> None:
    ended = await run_with_response(content_type, body)
    assert ended.output == output
    assert ended.types == ["started", "complete"]


@pytest.mark.parametrize("content_type", [SSE, "text/event-stream; charset=utf-8", "Text/Event-Stream"])
async def test_each_kind_of_event_arrives_from_an_event_stream(content_type: str) -> None:
    ended = await run_with_response(content_type, b"".join(map(as_sse, [*EVENTS, COMPLETE])))
    assert ended.own == EVENTS
    assert ended.output == {"done": True}


@pytest.mark.parametrize("content_type", [NDJSON, "application/jsonl"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"], ids=["no newline", "newline", "blank line"])
async def test_each_kind_of_event_arrives_from_lines(content_type: str, end: bytes) -> None:
    body = b"".join(map(as_line, [*EVENTS, COMPLETE])).rstrip(b"\n") + end
    ended = await run_with_response(content_type, body)
    assert ended.own == EVENTS
    assert ended.output == {"done": True}


async def test_events_arrive_before_the_response_ends() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.chunked(NDJSON)
        for number in range(3):
            await wire.chunk(as_line({"type": "token", "content": str(number)}))
            await runs.emitted(run_id, 2 + number)
        await wire.chunk(as_line(COMPLETE))
        await wire.chunk()

    async with served(answer) as (runs, _):
        run_id = await runs.start()
        assert (await runs.ended(run_id)).tokens == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"plain text", "plain text"),
        (b'"a \\"string\\""', 'a "string"'),
        (b"a\ndata: b", "a\nb"),
        (b"7", "7"),
    ],
)
@pytest.mark.parametrize(
    "name", [b"", b"event: token\n", b"event: message\n"], ids=["no name", "token", "message"]
)
async def test_data_that_is_not_an_object_is_a_token(name: bytes, data: bytes, content: str) -> None:
    ended = await run_with_response(SSE, name + b"data: " + data + b"\n\n" + as_sse(COMPLETE))
    assert ended.tokens == [content]


async def test_unknown_names_become_custom_events() -> None:
    body = b'event: thinking\ndata: {"a":1}\n\nevent: note\ndata: text\n\nevent: custom:b\ndata: {}\n\n'
    ended = await run_with_response(SSE, body + as_sse(COMPLETE))
    assert ended.own == [
        {"type": "custom:thinking", "a": 1},
        {"type": "custom:note", "data": "text"},
        {"type": "custom:b"},
    ]


@pytest.mark.parametrize(
    ("frame", "output"),
    [
        (b'event: complete\ndata: {"output": [1]}\n\n', [1]),
        (b"event: complete\ndata: {}\n\n", None),
        (b"event: complete\ndata: plain text\n\n", "plain text"),
        (b"event: complete\ndata: 7\n\n", 7),
        (b'data: {"type": "complete", "output": "x"}\n\n', "x"),
    ],
)
async def test_complete_has_the_output(frame: bytes, output: Any) -> None:
    assert (await run_with_response(SSE, frame)).output == output


@pytest.mark.parametrize(
    ("event", "error", "code", "details"),
    [
        ({"error": "no"}, "no", "AGENT_EXECUTION_ERROR", None),
        ({"error": "no", "code": "OUT_OF_INK2", "details": {"left": 0}}, "no", "OUT_OF_INK2", {"left": 0}),
    ],
)
async def test_error_keeps_its_message_and_code(
    event: dict[str, Any], error: str, code: str, details: Any
) -> None:
    for content_type, form in ((SSE, as_sse), (NDJSON, as_line)):
        ended = await run_with_response(content_type, form({"type": "error", **event}))
        assert (ended.error, ended.code) == (error, code)
        assert ended.terminal["details"] == details


@pytest.mark.parametrize("reason", [None, "no more"])
async def test_cancelled_ends_the_run_as_cancelled(reason: str | None) -> None:
    ended = await run_with_response(SSE, as_sse({"type": "cancelled", "reason": reason}))
    assert ended.run.status == "cancelled"
    assert ended.terminal["reason"] == reason


async def test_nothing_is_read_after_a_terminal_event() -> None:
    ended = await run_with_response(
        NDJSON, as_line(COMPLETE) + b'{"type":"token","content":"late"}\n{"type":7}\n'
    )
    assert ended.types == ["started", "complete"]


@pytest.mark.parametrize("form", [as_sse, as_line], ids=["sse", "ndjson"])
@pytest.mark.parametrize("events", [[], EVENTS[:2]], ids=["empty", "some events"])
async def test_stream_without_a_terminal_event_is_a_disconnect(
    form: Any, events: list[dict[str, Any]]
) -> None:
    ended = await run_with_response(SSE if form is as_sse else NDJSON, b"".join(map(form, events)))
    assert ended.own == events
    assert ended.code == "AGENT_DISCONNECTED"


def chunk(content: str | None = None, **choice: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: %s\n\n" % msgspec.json.encode(
        {"id": "c", "choices": [{"index": 0, "delta": delta, **choice}]}
    )


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""], ids=["done", "finish reason alone"])
async def test_openai_chunks_become_tokens_and_the_text(end: bytes) -> None:
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    body = role + chunk("Hel") + chunk("lo", finish_reason=None) + chunk(finish_reason="stop") + usage + end
    ended = await run_with_response(SSE, body)
    assert "".join(ended.tokens) == "Hello"
    *_, finished, counted = ended.own
    assert finished["finish_reason"] == "stop"
    assert (counted["type"], counted["total_tokens"]) == ("usage", 3)
    assert ended.output == "Hello"


async def test_truncated_openai_chunks_are_a_disconnect() -> None:
    ended = await run_with_response(SSE, chunk("Hel"))
    assert ended.tokens == ["Hel"]
    assert ended.code == "AGENT_DISCONNECTED"


async def test_openai_error_is_an_error() -> None:
    ended = await run_with_response(
        SSE, chunk("Hel") + b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    )
    assert ended.error == "overloaded"
    assert ended.terminal["details"]["type"] == "server_error"


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "202 Accepted"])
async def test_empty_response_without_a_content_type_is_null(status: str) -> None:
    ended = await run_against(lambda _, wire: wire.whole(None, status=status))
    assert ended.output is None


@pytest.mark.parametrize("status", ["300 Multiple", "302 Found", "404 Not Found", "500 Oops", "599 What"])
async def test_error_status_is_an_error_with_the_body(status: str) -> None:
    ended = await run_against(lambda _, wire: wire.whole(JSON, b'{"complete": "never"}', status))
    assert ended.code == "AGENT_EXECUTION_ERROR"
    assert ended.terminal["details"] == {"status": int(status[:3]), "body": '{"complete": "never"}'}


async def test_at_most_4_kib_of_an_error_body_are_kept() -> None:
    ended = await run_against(bytes_of("text/plain", b"x" * 50_000, status="500 Oops"))
    assert ended.terminal["details"]["body"] == "x" * 4096


async def test_endless_error_body_ends() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin("text/plain", "503 Busy")
        while True:
            await wire.send(b"x" * 1000)

    assert (await run_against(answer)).terminal["details"] == {"status": 503, "body": "x" * 4096}


async def test_secrets_in_an_outcome_of_a_process_are_masked() -> None:
    for event in ({"type": "error", "error": "hush"}, {"type": "cancelled", "reason": "hush"}):
        async with (
            process(bytes_of(NDJSON, as_line(event))) as made,
            remote(made.url) as agent,
            bench(agent, secrets=("hush",)) as runs,
        ):
            assert "hush" not in str((await runs.run()).terminal)
