"""Whatever a server sends, its reader makes valid events of it, or raises `ProtocolError`."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from dockrion.agents.responses import Begun, Interruption, ProtocolError, ResponseReader, WholeReader
from dockrion.agents.servers.a2a_reader import A2aReader
from dockrion.agents.servers.ag_ui_reader import AgUiReader
from dockrion.agents.servers.openai_readers import StreamReader, read_completion
from dockrion.agents.servers.recognition import recognizing_reader_for
from dockrion.runs.external_events import ExternalEvent

scalars = (
    st.none() | st.booleans() | st.integers(-2, 300) | st.just(2**70) | st.floats() | st.text(max_size=3)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


def either(expected: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return expected | anything


texts = either(st.sampled_from(["", "a", "{}", '{"x":', "\ud800"]))
calls = st.fixed_dictionaries(
    {},
    optional={
        "index": either(st.integers(0, 2)),
        "id": texts,
        "function": either(st.fixed_dictionaries({}, optional={"name": texts, "arguments": texts})),
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "content": texts,
        "refusal": texts,
        "reasoning": texts,
        "tool_calls": either(st.lists(calls, max_size=3)),
    },
)
choices = st.fixed_dictionaries(
    {}, optional={"delta": messages, "message": messages, "finish_reason": either(st.just("stop"))}
)
usage = st.fixed_dictionaries({}, optional={"prompt_tokens": anything, "prompt_tokens_details": anything})
chunks = st.fixed_dictionaries(
    {}, optional={"choices": st.lists(choices, max_size=2), "usage": usage, "model": texts, "error": anything}
)
BODY = b'{"runId": "r", "params": {"message": {"parts": []}}}'
TYPES = [f"TEXT_MESSAGE_{each}" for each in ("START", "CONTENT", "CHUNK", "END")]
TYPES += [f"TOOL_CALL_{each}" for each in ("START", "ARGS", "CHUNK", "END", "RESULT")]
TYPES += [
    "REASONING_MESSAGE_CONTENT",
    "STEP_FINISHED",
    "STATE_SNAPSHOT",
    "STATE_DELTA",
    "CUSTOM",
    "RAW",
    "",
    "A-B",
]
TYPES += ["RUN_STARTED", "RUN_ERROR", "RUN_FINISHED"]
interrupts = st.fixed_dictionaries(
    {"id": texts},
    optional={
        "message": texts,
        "expiresAt": either(st.just("2026-01-01T00:00:00Z")),
        "responseSchema": anything,
    },
)
outcomes = st.fixed_dictionaries(
    {"type": either(st.sampled_from(["success", "interrupt", "cancelled"]))},
    optional={"interrupts": st.lists(interrupts, max_size=2)},
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        **dict.fromkeys(("messageId", "delta", "toolCallId", "toolCallName", "content", "stepName"), texts),
        **dict.fromkeys(("role", "metadata", "snapshot", "value", "result", "usage", "id"), anything),
        "name": texts | st.sampled_from(["dockrion.usage", "dockrion.progress", "dockrion.input_received"]),
        "message": texts,
        "code": texts,
        "outcome": either(outcomes),
    },
)

parts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("text", "raw", "url", "mediaType"), texts),
        "data": anything,
        "file": either(st.fixed_dictionaries({"bytes": texts})),
        "metadata": either(st.just({"data_part_compat": True})),
    },
)
artifacts = st.fixed_dictionaries({"artifactId": texts}, optional={"parts": st.lists(parts, max_size=2)})
STATES = ["WORKING", "INPUT_REQUIRED", "COMPLETED", "FAILED", "REJECTED", "CANCELED", "AUTH_REQUIRED", ""]
updates = st.fixed_dictionaries(
    {},
    optional={
        "id": texts,
        "taskId": texts,
        "contextId": texts,
        "status": st.fixed_dictionaries(
            {"state": st.sampled_from(STATES) | texts},
            optional={"message": st.fixed_dictionaries({"parts": st.lists(parts, max_size=2)})},
        ),
        "artifact": artifacts,
        "artifacts": st.lists(artifacts, max_size=2),
        "append": either(st.booleans()),
        "metadata": either(
            st.fixed_dictionaries(
                {"dockrion": either(st.sampled_from([{"type": "input_requested"}, {"type": "complete"}]))}
            )
        ),
    },
)
results = st.dictionaries(
    st.sampled_from(["task", "statusUpdate", "artifactUpdate", "message"]), updates, max_size=1
)
responses = st.fixed_dictionaries(
    {}, optional={"result": results, "error": either(st.fixed_dictionaries({"code": st.just(-32601)}))}
)


def check(reader: ResponseReader, data: bytes, *, again: bool = True) -> None:
    with suppress(ProtocolError):
        for part in (*reader.feed(data), *reader.end()):
            if isinstance(part, ExternalEvent):
                with suppress(ValueError):  # the agent makes a `ProtocolError` of it
                    part.fields()
            elif isinstance(part, Interruption):
                json.loads(part.resumed(BODY, [UNSET] * len(part.questions)))
            elif isinstance(part, Begun) and again:
                following = part.follow()
                json.loads(following.resumed(BODY, []))
                assert following.reader_for is not None
                check(following.reader_for("text/event-stream"), data, again=False)


@pytest.mark.parametrize(
    ("make", "sent"),
    [
        (StreamReader, chunks),
        (AgUiReader, events),
        (lambda: A2aReader("text/event-stream"), responses),
        (lambda: recognizing_reader_for("text/event-stream"), chunks),
    ],
    ids=["OpenAI", "AG-UI", "A2A", "recognized"],
)
def test_no_stream_breaks_a_reader(make: Callable[[], ResponseReader], sent: Any) -> None:
    @given(st.lists(sent, max_size=4))
    @example([{"type": "TOOL_CALL_CHUNK"}])
    def run(values: list[Any]) -> None:
        check(make(), b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in values))

    run()


@given(chunks)
def test_no_completion_breaks_a_reader(value: Any) -> None:
    check(WholeReader(read_completion), json.dumps(value).encode())
