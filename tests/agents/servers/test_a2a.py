"""A server of A2A as the agent: `agent.protocol: a2a`."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.errors import AgentFailed
from tests.agents.harness import Ended
from tests.agents.processes import JSON, SSE, Handler, ReceivedRequest, Wire, bytes_of, run_against, served
from tests.agents.servers.openai_server import PAYLOAD, endless

A2A: dict[str, Any] = {"protocol": "a2a"}
TASK: dict[str, Any] = {"taskId": "t", "contextId": "c"}


def response(**fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, **fields}


def frame(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def stream(*results: dict[str, Any]) -> bytes:
    return b"".join(frame(response(result=each)) for each in results)


def status(state: str, text: str | None = None, **fields: Any) -> dict[str, Any]:
    said = {} if text is None else {"message": {"role": "ROLE_AGENT", "parts": [{"text": text}]}}
    return {"statusUpdate": {**TASK, "status": {"state": f"TASK_STATE_{state}", **said}, **fields}}


def artifact(*parts: Any, name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"artifactUpdate": {**TASK, "artifact": {"artifactId": name, "parts": parts}, **fields}}


def task(state: str = "SUBMITTED", *artifacts: Any) -> dict[str, Any]:
    found = {"id": "t", "contextId": "c", "status": {"state": f"TASK_STATE_{state}"}}
    return {"task": {**found, "artifacts": [{"artifactId": "a", "parts": [each]} for each in artifacts]}}


COMPLETED = status("COMPLETED")


async def replied(*results: dict[str, Any], **spec: Any) -> Ended:
    """Run once against a server that streams these results; the task is cancelled if they are malformed."""
    handler = bytes_of(SSE, stream(task(), *results))
    async with served(handler, **(A2A | spec)) as (runs, _):
        return await runs.run(PAYLOAD)


async def answered(handler: Handler, payload: Any = None, **spec: Any) -> Ended:
    return await run_against(handler, PAYLOAD if payload is None else payload, **(A2A | spec))


async def received(payload: Any, **spec: Any) -> dict[str, Any]:
    """Run once, and return the message that the server got."""
    async with served(bytes_of(SSE, stream(COMPLETED)), **(A2A | spec)) as (runs, made):
        assert (await runs.run(payload)).output is None
        (request,) = made.requests
    assert request.headers["accept"] == f"{SSE}, {JSON}"
    assert request.headers["a2a-version"] == "1.0"
    assert not [name for name in request.headers if name.startswith("x-dockrion")]
    assert request.json["method"] == "SendStreamingMessage"
    message: dict[str, Any] = request.json["params"]["message"]
    return message


async def test_the_last_message_is_sent_with_its_files() -> None:
    content = [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    ]
    messages = [{"role": "user", "content": "Hello"}, {"role": "user", "content": content}]
    sent = await received({"messages": messages, "contextId": "c"})
    assert (sent["role"], sent["contextId"]) == ("ROLE_USER", "c")
    assert sent["parts"] == [
        {"text": "?"},
        {"raw": "AAAA", "mediaType": "image/png"},
        {"url": "https://h/a.png", "mediaType": "image/*"},
        {"raw": "AAAA", "mediaType": "audio/mpeg"},
        {"raw": "AAAA", "mediaType": "application/pdf"},
    ]


@pytest.mark.parametrize(
    ("payload", "part"),
    [({"q": "Rain?"}, {"text": "Rain?"}), ({"x": 1}, {"data": {"x": 1}, "mediaType": JSON})],
    ids=["question", "data"],
)
async def test_a_payload_without_messages_is_a_question_or_data(payload: Any, part: Any) -> None:
    assert (await received(payload, chat=ChatSpec("q")))["parts"] == [part]


@pytest.mark.parametrize(
    "messages",
    [["x"], [{"role": "user"}], [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]],
    ids=["text", "empty", "file"],
)
async def test_messages_that_cannot_be_sent_are_refused(messages: Any) -> None:
    async with served(bytes_of(SSE, b""), **A2A) as (runs, made):
        assert (await runs.run({"messages": messages})).code == "VALIDATION_ERROR"
        assert made.requests == []


async def test_the_token_is_sent_with_every_request() -> None:
    async with served(bytes_of(SSE, stream(task(), {"task": 7})), token="a key", **A2A) as (runs, made):
        await runs.run(PAYLOAD)
    first, cancelling = made.requests
    assert cancelling.json["method"] == "CancelTask"
    assert cancelling.json["params"] == {"id": "t"}
    assert first.headers["authorization"] == cancelling.headers["authorization"] == "Bearer a key"


async def test_texts_become_tokens_once_and_files_events() -> None:
    file = {"url": "https://h/a.png", "mediaType": "image/png", "filename": "a.png"}
    ended = await replied(
        status("WORKING", "on the scales"),
        artifact({"text": "I"}),
        artifact({"text": " have"}, append=True),
        artifact({"text": "I have it"}),  # as a whole
        artifact({"text": "Bye"}, file, name="b"),
        task("WORKING", {"text": "I have it"}),
        COMPLETED,
    )
    named = {"type": "token", "finish_reason": None}
    assert ended.own == [
        {"type": "progress", "step": "working", "progress": 0.0, "message": "on the scales"},
        {**named, "content": "I", "message_id": "a"},
        {**named, "content": " have", "message_id": "a"},
        {**named, "content": " it", "message_id": "a"},
        {**named, "content": "Bye", "message_id": "b"},
        {
            "type": "custom:file",
            "artifact_id": "b",
            "url": "https://h/a.png",
            "media_type": "image/png",
            "name": "a.png",
        },
    ]
    assert ended.output == "I have it\n\nBye"


@pytest.mark.parametrize(
    ("results", "tokens", "output"),
    [
        ([artifact({"data": 1}), COMPLETED], [], 1),
        ([artifact({"data": 1}), artifact({"data": [2]}, append=True), COMPLETED], [], [1, [2]]),
        ([artifact({"data": 1}), artifact({"data": None}), COMPLETED], [], None),
        ([artifact({"text": "old"}), artifact({"text": "new"}), COMPLETED], ["old", "new"], "new"),
        ([status("COMPLETED", "Done.")], ["Done."], "Done."),
        ([artifact({"text": "It."}), status("COMPLETED", "Done.")], ["It."], "It."),
        ([{"message": {"role": "ROLE_AGENT", "parts": [{"text": "Hi"}]}}], ["Hi"], "Hi"),
        ([{"message": {"role": "ROLE_AGENT", "parts": [{"data": {"a": 1}}]}}], [], {"a": 1}),
        ([task("COMPLETED", {"text": "All."})], ["All."], "All."),
    ],
    ids=["data", "several", "replaced", "anew", "status", "both", "message", "message data", "task"],
)
async def test_data_or_else_the_text_is_the_output(
    results: list[dict[str, Any]], tokens: list[str], output: Any
) -> None:
    ended = await replied(*results)
    assert (ended.tokens, ended.output) == (tokens, output)


@pytest.mark.parametrize(
    ("update", "error"),
    [
        (status("FAILED", "no parcel"), "no parcel"),
        (status("FAILED"), "the agent's server reports that its task has failed"),
        (status("REJECTED", "not mine"), "the agent's server has rejected the task: not mine"),
        (
            status("AUTH_REQUIRED", "log in"),
            "the agent's server demands an authentication that it does not get: log in",
        ),
    ],
    ids=["failed", "silent", "rejected", "auth"],
)
async def test_a_task_that_fails_is_the_runs_error(update: dict[str, Any], error: str) -> None:
    ended = await replied(artifact({"text": "Hm"}), update)
    assert (ended.tokens, ended.code, ended.error) == (["Hm"], "AGENT_EXECUTION_ERROR", error)


async def test_a_task_that_the_server_cancels_is_a_cancelled_run() -> None:
    ended = await replied(status("CANCELED", "enough"))
    assert (ended.run.status, ended.terminal["reason"]) == ("cancelled", "enough")


@pytest.mark.parametrize(
    ("content_type", "data"),
    [(SSE, {"code": "VALIDATION_ERROR"}), (JSON, [7, {"@type": "t", "reason": "VALIDATION_ERROR"}])],
    ids=["object", "list"],
)
async def test_an_error_of_json_rpc_is_the_runs_error(content_type: str, data: Any) -> None:
    error = response(error={"code": -32602, "message": "no parts", "data": data})
    body = frame(error) if content_type == SSE else json.dumps(error).encode()
    ended = await answered(bytes_of(content_type, body))
    assert (ended.code, ended.error) == ("AGENT_EXECUTION_ERROR", "no parts")
    assert ended.terminal["details"] == {"code": "VALIDATION_ERROR"}


async def test_a_server_that_knows_no_method_is_asked_no_more_than_twice() -> None:
    error = json.dumps(response(error={"code": -32601, "message": "unknown method"})).encode()
    async with served(bytes_of(JSON, error), **A2A) as (runs, made):
        assert (await runs.run(PAYLOAD)).error == "unknown method"
    methods = [request.json["method"] for request in made.requests]
    assert methods == ["SendStreamingMessage", "message/stream"]


async def test_a_refused_status_is_the_runs_error() -> None:
    handler = bytes_of(
        JSON, b'{"error": {"code": -32600, "message": "who are you?"}}', status="401 Unauthorized"
    )
    ended = await answered(handler)
    assert ended.error == "the agent's server responded with status 401: who are you?"


MALFORMED: Sequence[tuple[str, bytes]] = (
    ("no JSON", b"data: {\n\n"),
    ("nothing", frame(response())),
    ("no object", frame(response(result=7))),
    ("no kind", frame(response(result={}))),
    ("other kind", frame(response(result={"kind": "x"}))),
    ("no id", stream({"task": {"status": {"state": "TASK_STATE_WORKING"}}})),
    ("no artifact", stream({"artifactUpdate": TASK})),
    ("number", stream(artifact({"text": 7}))),
    ("wrapped", stream(artifact({"data": {}, "metadata": {"data_part_compat": True}}))),
    ("state", stream(status("ASLEEP"))),
    ("other task", stream({"artifactUpdate": {"taskId": "u", "artifact": {"artifactId": "a"}}})),
    ("error", frame(response(error={"code": "x"}))),
    ("own event", stream(status("WORKING", metadata={"dockrion": {"type": "progress", "step": 7}}))),
    ("own end", stream(status("COMPLETED", metadata={"dockrion": {"type": "complete", "metadata": 7}}))),
    ("question", stream(status("INPUT_REQUIRED", "?", metadata={"dockrion": {"schema": {"type": 7}}}))),
    ("deep", b'data: {"result":{"kind":' + b"[" * 100_000 + b"\n\n"),
    (
        "deep data",
        b'data: {"result":{"artifactUpdate":{"taskId":"t","artifact":{"artifactId":"a","parts":'
        b'[{"data":' + b"[" * 100_000 + b"\n\n",
    ),
    (
        "deep output",
        stream(artifact({"data": 7}), COMPLETED).replace(b"7", b"[" * 100_000 + b"]" * 100_000, 1),
    ),
)


@pytest.mark.parametrize("data", [data for _, data in MALFORMED], ids=[name for name, _ in MALFORMED])
async def test_what_is_malformed_is_a_protocol_error_and_stops_the_task(data: bytes) -> None:
    handler = bytes_of(SSE, stream(task(), artifact({"text": "a"})) + data)
    async with served(handler, **A2A) as (runs, made):
        ended = await runs.run(PAYLOAD)
    assert (ended.code, ended.tokens) == ("AGENT_PROTOCOL_ERROR", ["a"])
    assert [request.json["method"] for request in made.requests][1:] == ["CancelTask"]


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 2**18,
        stream(artifact({"text": "x" * 2**18}, append=True)),
        stream(artifact({"data": "x" * 2**18}, append=True)),
        stream(*(artifact({"data": 1}, append=True) for _ in range(2000))),
    ],
    ids=["line", "text", "data", "values"],
)
async def test_what_does_not_end_is_cut_off(piece: bytes) -> None:
    async with served(endless(piece), **A2A) as (runs, made):
        ended = await runs.run(PAYLOAD)
        assert made.posts in (1, 2)
    assert ended.error == "the agent process sent more than 10 MiB at once"


@pytest.mark.parametrize("content_type", [SSE, JSON])
async def test_a_response_that_ends_before_it_names_a_task_is_an_error(content_type: str) -> None:
    ended = await answered(bytes_of(content_type, b"" if content_type == SSE else b"{"))
    assert ended.code == ("AGENT_DISCONNECTED" if content_type == SSE else "AGENT_PROTOCOL_ERROR")


@pytest.mark.parametrize("status_line", ["200 OK", "307 Temporary Redirect"])
async def test_other_responses_are_errors(status_line: str) -> None:
    ended = await answered(bytes_of("text/html", b"<p>", status=status_line))
    assert ended.code in ("AGENT_PROTOCOL_ERROR", "AGENT_EXECUTION_ERROR")


async def test_a_task_that_cannot_be_stopped_is_left(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        stopping = request.json["method"] == "CancelTask"
        await wire.begin(SSE, "500 No" if stopping else "200 OK")
        await wire.send(stream(task(), {"task": 7}))
        wire.close()

    async with served(answer, **A2A) as (runs, _):
        assert (await runs.run(PAYLOAD)).code == "AGENT_PROTOCOL_ERROR"
    assert "agent process refused to stop" in caplog.text


async def test_a_task_whose_question_nobody_can_answer_is_stopped() -> None:
    async with served(bytes_of(SSE, stream(status("INPUT_REQUIRED", "Book?"))), **A2A) as (runs, made):
        with pytest.raises(AgentFailed, match="RuntimeError"):
            await runs.invoke(PAYLOAD)
    assert made.requests[-1].json["method"] == "CancelTask"
