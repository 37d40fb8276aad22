"""Chats with the Vercel AI SDK: its `Chat`, which useChat is made of, and its `DefaultChatTransport`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from dockrion import StreamContext
from dockrion.events import Entry
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from tests.conftest import Serve
from tests.interop import sdks
from tests.interop.sdks import SDK
from tests.protocols.logs import encoded, log_of, logs, messages_of
from tests.protocols.vercel_ai.streams import chunks_of, message_of
from tests.support import Served, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits, gauge

EXPOSE = {"protocols": ["vercel-ai"]}
CONTINUE = {"connection": {"on_disconnect": "continue"}}
HELLO = {"text": "Hello"}
CHAT_ID = "a/b?c#d é%2F.."


@pytest.fixture(scope="module")
def sdk() -> Iterator[SDK]:
    with sdks.running("vercel_ai.mjs") as commands:
        yield commands


def api(served: Served, query: str = "") -> str:
    return f"http://127.0.0.1:{served.port}/api/chat{query}"


def said(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


class Researcher:
    """Answers with a reasoning, tools, what it has found, and all kinds of events."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        await context.emit_progress("searching", 0.2)
        await context.emit_reasoning("I look ", message_id="m1")
        await context.emit_reasoning("it up.", message_id="m1")
        await context.emit_token("Let me see.", message_id="m1")
        await context.emit_tool_call("search", {"query": "weather"}, "c1", message_id="m1")
        await context.emit_tool_call("broken", {}, "c2", message_id="m1")
        await context.emit_progress("searching", 0.8, "nearly there")
        await context.emit_tool_result("c1", result={"degrees": 21})
        await context.emit_tool_result("c2", result="no network", is_error=True)
        await context.emit_usage(None, input_tokens=10, output_tokens=5)
        await context.emit("weather", {"place": "Rome"})
        await context.emit_token("It is ", message_id="m2")
        await context.emit_token("warm.", finish_reason="stop", message_id="m2")
        picture = {"type": "image", "url": "https://example.com/sun.png", "mime_type": "image/png"}
        await context.emit_message([{"type": "text", "text": "It is warm."}, picture], message_id="m2")
        await context.emit_usage(None, input_tokens=20, output_tokens=7)
        return {"answer": "not shown"}


async def test_a_whole_conversation(serve: Serve, sdk: SDK) -> None:
    served = await serve(
        agent := Researcher(), expose=EXPOSE, io_schema={"input": {"properties": {"city": {}}}}
    )
    await sdk("open", name="whole", id="chat-1", api=api(served))
    first = await sdk("send", name="whole", message=HELLO, options={"body": {"city": "Rome", "other": 1}})
    assert (first["status"], first.get("error")) == ("ready", None)
    assert first["finishes"] == [
        {"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"}
    ]
    _, answer = first["messages"]
    run = await served.record(answer["metadata"]["runId"])
    assert run["status"] == "completed"
    assert answer["id"] == run["run_id"]
    assert answer["metadata"]["usage"] == {"inputTokens": 30, "outputTokens": 12, "totalTokens": 42}
    nothing: dict[str, Any] = {}
    tool = {"type": "dynamic-tool", "providerExecuted": True}
    assert [
        {name: part[name] for name in part if name not in ("id", "preliminary")} for part in answer["parts"]
    ] == [
        {"type": "step-start"},
        {
            "type": "data-progress",
            "data": {"step": "searching", "progress": 0.8, "message": "nearly there"},
        },
        {"type": "reasoning", "text": "I look it up.", "state": "done"},
        {"type": "text", "text": "Let me see.", "state": "done"},
        {
            **tool,
            "toolName": "search",
            "toolCallId": "c1",
            "state": "output-available",
            "input": {"query": "weather"},
            "output": {"degrees": 21},
        },
        {
            **tool,
            "toolName": "broken",
            "toolCallId": "c2",
            "state": "output-error",
            "input": nothing,
            "errorText": "no network",
        },
        {"type": "data-weather", "data": {"place": "Rome"}},
        {"type": "step-start"},
        {"type": "text", "text": "It is warm.", "state": "done"},
        {"type": "file", "url": "https://example.com/sun.png", "mediaType": "image/png"},
    ]
    assert first["data"] == ["data-progress", "data-progress", "data-weather"]
    assert agent.payloads == [{"city": "Rome", "messages": [{"role": "user", "content": "Hello"}]}]

    second = await sdk("send", name="whole", message={"text": "And now?"})
    assert [message["role"] for message in second["messages"]] == ["user", "assistant"] * 2
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"query":"weather"}'}},
        {"id": "c2", "type": "function", "function": {"name": "broken", "arguments": "{}"}},
    ]
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": '{"degrees":21}'},
        {"role": "tool", "tool_call_id": "c2", "content": "no network"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "It is warm."},
                {"type": "image_url", "image_url": {"url": "https://example.com/sun.png"}},
            ],
        },
        {"role": "user", "content": "And now?"},
    ]
    assert agent.payloads[1] == {"messages": history}
    again = await sdk("regenerate", name="whole")
    assert agent.payloads[2] == agent.payloads[1]
    assert [message["id"] for message in again["messages"][:3]] == [
        message["id"] for message in second["messages"][:3]
    ]
    assert again["messages"][3]["id"] != second["messages"][3]["id"]
    assert len(again["messages"]) == 4


async def test_an_error_of_the_agent_is_the_error_of_the_chat(serve: Serve, sdk: SDK) -> None:
    async def fails(_: Any, context: StreamContext) -> None:
        await context.emit_tool_call("search", {}, "c1")
        await context.emit_token("It is")
        raise ValueError("no more words")

    served = await serve(fails, expose=EXPOSE)
    await sdk("open", name="failing", api=api(served))
    seen = await sdk("send", name="failing", message=HELLO)
    assert (seen["status"], seen["error"]) == ("error", "ValueError: no more words")
    assert seen["finishes"] == [{"isAbort": False, "isDisconnect": False, "isError": True}]
    *_, call, text = seen["messages"][1]["parts"]
    assert (call["state"], call["errorText"]) == (
        "output-error",
        "the run has ended before this tool returned",
    )
    assert (text["text"], text["state"]) == ("It is", "done")
    read = await sdk(
        "read", api=api(served), body={"messages": [{"role": "user", "parts": [HELLO | {"type": "text"}]}]}
    )
    assert read["errors"] == ["ValueError: no more words"]
    assert read["results"][-2:] == ["error", "finish"]
    assert read["header"] == "v1"
    assert said(read["message"]) == "It is"


async def test_a_violation_of_a_policy_in_the_middle_is_the_error_of_the_chat(serve: Serve, sdk: SDK) -> None:
    async def searches(_: Any, context: StreamContext) -> None:
        await context.emit_token("I look it up.")
        await context.emit_tool_call("delete_everything", {}, "c1")

    policies = {"tools": {"allowed": ["search"]}}
    served = await serve(searches, expose=EXPOSE, policies=policies)
    await sdk("open", name="violating", api=api(served))
    seen = await sdk("send", name="violating", message=HELLO)
    assert seen["status"] == "error"
    assert "delete_everything" in seen["error"]
    assert said(seen["messages"][1]) == "I look it up."
    run = await served.record(seen["messages"][1]["id"])
    assert run["error"]["code"] == "POLICY_VIOLATION"


async def test_refusals_are_errors_with_the_service_s_json(serve: Serve, sdk: SDK, tmp_path: Path) -> None:
    async def code_of(name: str, **options: Any) -> str:
        message = options.pop("message", HELLO)
        await sdk("open", name=name, **options)
        seen = await sdk("send", name=name, message=message)
        assert (seen["status"], len(seen["messages"])) == ("error", 1)
        return str(json.loads(seen["error"])["code"])

    async with api_keys() as mode:
        sections = mode.sections(tmp_path, rate_limits={"default": "1/h"})
        served = await serve(Researcher(), expose=EXPOSE, limits={"max_body_bytes": 2000}, **sections)
        headers = mode.key("owner")
        assert await code_of("nobody", api=api(served)) == "AUTH_ERROR"
        large = {"text": "x" * 2000}
        assert await code_of("large", api=api(served), headers=headers, message=large) == "PAYLOAD_TOO_LARGE"
        await sdk("open", name="known", id="owned", api=api(served), headers=headers)
        assert (await sdk("send", name="known", message=HELLO))["status"] == "ready"
        assert await code_of("often", api=api(served), headers=headers) == "RATE_LIMIT_EXCEEDED"
        unknown = {"parts": [{"type": "hologram"}]}
        assert (
            await code_of("unknown", api=api(served), headers=headers, message=unknown) == "VALIDATION_ERROR"
        )


async def test_stop_cancels_the_run(serve: Serve, sdk: SDK) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    await sdk("open", name="stopped", api=api(served))
    await sdk("send", name="stopped", message=HELLO, until="first")
    seen = await sdk("stop", name="stopped")
    assert (seen["status"], said(seen["messages"][1])) == ("ready", "first")
    assert seen["finishes"][0]["isAbort"]
    await wait_until(lambda: agent.stopped)
    assert (await served.finished(seen["messages"][1]["id"]))["status"] == "cancelled"


async def test_a_chat_that_resumes_gets_the_reply_from_its_beginning(serve: Serve, sdk: SDK) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE, streaming=CONTINUE)
    await sdk("open", name="cut", id=CHAT_ID, api=api(served))
    await sdk("send", name="cut", message=HELLO, until="first")
    left = await sdk("stop", name="cut")
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    await sdk("open", name="reloaded", id=CHAT_ID, api=api(served), messages=left["messages"][:1])
    await sdk("resume", name="reloaded", until="first")
    await sdk("resume", name="cut", until="first")
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 2)
    agent.go.set()
    for name in ("cut", "reloaded"):
        seen = await sdk("finish", name=name)
        assert (seen["status"], seen.get("error")) == ("ready", None)
        assert [message["id"] for message in seen["messages"]] == [
            message["id"] for message in left["messages"]
        ]
        assert said(seen["messages"][1]) == "firstlast"
        again = await sdk("resume", name=name)  # nothing runs any more
        assert (again["status"], again["messages"]) == ("ready", seen["messages"])
    assert agent.stopped == []


async def test_a_run_that_goes_on_is_stopped_by_its_id(serve: Serve, sdk: SDK) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE, streaming=CONTINUE)
    await sdk("open", name="long", api=api(served))
    sent = await sdk("send", name="long", message=HELLO, until="first")
    run_id = sent["messages"][1]["metadata"]["runId"]
    async with served.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200
    seen = await sdk("finish", name="long")
    assert (seen["status"], said(seen["messages"][1])) == ("ready", "first")
    assert agent.stopped


async def test_a_page_answers_a_question(serve: Serve, sdk: SDK) -> None:
    async def asks(_: Any, context: StreamContext) -> str:
        return f"Deployed: {await context.ask('Deploy?', {'type': 'boolean'})}"

    served = await serve(asks, expose=EXPOSE)
    await sdk("open", name="asked", api=api(served))
    asked = await sdk("send", name="asked", message=HELLO, until="Deploy?")
    message = asked["messages"][1]
    (question,) = [part for part in message["parts"] if part["type"] == "data-input_requested"]
    assert question["data"]["schema"] == {"type": "boolean"}
    answer = {"request_id": question["id"], "value": True}
    async with served.client.post(f"/runs/{message['metadata']['runId']}/input", json=answer) as response:
        assert response.status == 202, await response.text()
    seen = await sdk("finish", name="asked")
    received = {"type": "data-input_received", "id": question["id"]}
    assert received.items() <= seen["messages"][1]["parts"][2].items()
    assert said(seen["messages"][1]) == "Deployed: True"


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(logs(max_events=40))
@example(log_of(*({"type": "custom:x", name: {"prototype": 1}} for name in ("__proto__", "constructor"))))
def test_the_sdk_reads_every_stream(sdk: SDK, entries: list[Entry]) -> None:
    frames, _ = encoded(MessageEncoder("run-1", "message-1"), entries)
    read = sdk.ask("check", frames=frames.decode())
    chunks = chunks_of(messages_of(frames))
    assert read["results"] == [chunk["type"] for chunk in chunks]
    assert read["errors"] == [chunk["errorText"] for chunk in chunks if chunk["type"] == "error"]
    shown = [part["text"] for part in read["message"]["parts"] if part["type"] in ("text", "reasoning")]
    assert shown == [part["text"] for part in message_of(chunks) if part["type"] in ("text", "reasoning")]
    tools = [part["state"] for part in read["message"]["parts"] if part["type"] == "dynamic-tool"]
    assert not (chunks[-1]["type"] in ("finish", "abort") and "input-available" in tools)
