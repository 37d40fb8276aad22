"""Conversations with `HttpAgent` of AG-UI's TypeScript SDK, which verifies every stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.interop import sdks
from tests.interop.ag_ui import EXPOSE, SCRIPT, Researcher, kinds, run, url
from tests.interop.sdks import SDK
from tests.support import Served, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits

WEATHER = {
    "name": "show_weather",
    "description": "Show the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def sdk() -> Iterator[SDK]:
    with sdks.running(SCRIPT) as commands:
        yield commands


async def test_a_whole_conversation(serve: Serve, sdk: SDK) -> None:
    names = ["threadId", "runId", "state", "context", "forwardedProps"]
    io_schema = {"input": {"properties": dict.fromkeys(names, True)}}
    served = await serve(agent := Researcher(), expose=EXPOSE, io_schema=io_schema)
    await sdk("open", name="whole", url=url(served), threadId="thread/1", initialState={"mood": "good"})
    context = [{"description": "the place", "value": "Rome"}]
    seen = await run(sdk, "whole", runId="run-1", context=context, forwardedProps={"unit": "C"})
    assert (seen["reported"], seen.get("rejected")) == ([], None)
    assert kinds(seen) == [
        "RUN_STARTED",
        *("REASONING_START", "REASONING_MESSAGE_START"),
        *("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
        *("STEP_STARTED", "STEP_FINISHED"),
        *("CUSTOM", "CUSTOM", "STATE_SNAPSHOT", "CUSTOM"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("CUSTOM", "CUSTOM"),
        "RUN_FINISHED",
    ]
    ids = {"threadId": "thread/1", "runId": "run-1"}
    first, last = seen["events"][0], seen["events"][-1]
    assert first == {"type": "RUN_STARTED", **ids, "protocolVersion": "1.0"}
    assert last == {
        "type": "RUN_FINISHED",
        **ids,
        "result": {"answer": "not shown"},
        "outcome": {"type": "success"},
        "usage": [{"model": "small", "inputTokens": 30, "outputTokens": 12, "totalTokens": 42}],
    }
    custom = [(event["name"], event["value"]) for event in seen["events"] if event["type"] == "CUSTOM"]
    assert custom[:3] == [
        ("dockrion.progress", {"step": "searching", "progress": 0.5, "message": None}),
        ("dockrion.checkpoint", {"name": "found", "data": {"degrees": 21}}),
        ("mood", {"happy": True}),
    ]
    assert seen["state"] == {"degrees": 21}
    assert seen["result"] == {"answer": "not shown"}
    _, reasoning, calling, result, answer = seen["messages"]
    assert (reasoning["role"], reasoning["content"]) == ("reasoning", "I look it up.")
    assert (calling["role"], calling["content"]) == ("assistant", "Let me see.")
    function = {"name": "search", "arguments": '{"query":"weather"}'}
    assert calling["toolCalls"] == [{"id": "c1", "type": "function", "function": function}]
    assert (result["role"], result["toolCallId"], result["content"]) == ("tool", "c1", '{"degrees":21}')
    assert (answer["role"], answer["content"]) == ("assistant", "It is warm.")
    assert (await served.record("run-1"))["status"] == "completed"
    assert agent.payloads == [
        {
            **ids,
            "state": {"mood": "good"},
            "context": context,
            "forwardedProps": {"unit": "C"},
            "messages": [{"role": "user", "content": "Hello"}],
        }
    ]

    again = await run(sdk, "whole", "And now?", runId="run-1")  # taken: the service chooses another
    assert again["events"][0]["runId"] == "run-1"
    assert len({message["id"] for message in again["messages"]}) == len(again["messages"]) == 10
    assert agent.payloads[1]["messages"] == [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": '{"degrees":21}', "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is warm."},
        {"role": "user", "content": "And now?"},
    ]


async def test_a_tool_of_the_frontend(serve: Serve, sdk: SDK) -> None:
    payloads: list[Any] = []

    async def shows(payload: Any, context: StreamContext) -> dict[str, Any]:
        payloads.append(payload)
        if payload["messages"][-1]["role"] == "tool":
            return {"answer": f"You see {payload['messages'][-1]['content']}."}
        await context.emit_tool_call("show_weather", {"city": "Rome"}, "c1")
        return {}

    served = await serve(shows, expose=EXPOSE)
    await sdk("open", name="frontend", url=url(served))
    seen = await run(sdk, "frontend", tools=[WEATHER])
    assert kinds(seen)[1:] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "RUN_FINISHED"]
    assert seen["events"][-1]["outcome"] == {"type": "success"}
    assert payloads[0]["tools"] == [{"type": "function", "function": WEATHER}]
    result = {"id": "r1", "role": "tool", "toolCallId": "c1", "content": "the sun"}
    seen = await run(sdk, "frontend", None, messages=[result], tools=[WEATHER])
    assert seen["messages"][-1]["content"] == "You see the sun."
    assert (seen["events"][-1]["outcome"], seen["reported"]) == ({"type": "success"}, [])


async def test_an_error_and_a_violation_of_a_policy_in_the_middle(serve: Serve, sdk: SDK) -> None:
    async def fails(payload: Any, context: StreamContext) -> None:
        await context.emit_token("It is")
        if payload["messages"][-1]["content"] == "delete":
            await context.emit_tool_call("delete_everything", {}, "c1")
        raise ValueError("no more words")

    served = await serve(fails, expose=EXPOSE, policies={"tools": {"allowed": ["search"]}})
    await sdk("open", name="failing", url=url(served))
    for message, code, words in (
        ("speak", "AGENT_EXECUTION_ERROR", "ValueError: no more words"),
        ("delete", "POLICY_VIOLATION", "delete_everything"),
    ):
        seen = await run(sdk, "failing", message)
        assert kinds(seen)[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
        assert seen["events"][-1]["code"] == code
        assert words in seen["events"][-1]["message"]
        assert seen["messages"][-1]["content"] == "It is"
        assert seen["reported"] == []


async def test_abort_cancels_the_run(serve: Serve, sdk: SDK) -> None:
    served = await serve(agent := Waits(), expose=EXPOSE)
    await sdk("open", name="aborted", url=url(served))
    seen = await run(sdk, "aborted", runId="run-1", abortOn="TEXT_MESSAGE_CONTENT")
    assert seen["events"][-1]["code"] == "abort"  # the client's own event
    await wait_until(lambda: agent.stopped)
    assert (await served.finished("run-1"))["status"] == "cancelled"


async def test_a_cancelled_run_is_no_error(serve: Serve, sdk: SDK) -> None:
    async def cancels_itself(_: Any, context: StreamContext) -> None:
        await context.emit_token("bye")
        async with served.client.delete(f"/runs/{context.run_id}?reason=enough"):
            pass

    served = await serve(cancels_itself, expose=EXPOSE)
    await sdk("open", name="before", url=url(served), before1=True)
    before = await run(sdk, "before")
    assert (before["events"][-1]["code"], before["reported"]) == ("CANCELLED", [])
    await sdk("open", name="cancelled", url=url(served))
    seen = await run(sdk, "cancelled")
    assert kinds(seen)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert seen["events"][-1]["outcome"] == {"type": "cancelled"}
    assert seen["events"][-1]["metadata"] == {"reason": "enough"}
    assert seen["reported"] == []


async def test_refusals_have_the_service_s_json(serve: Serve, sdk: SDK, tmp_path: Path) -> None:
    async def refused(name: str, message: str = "Hello", **options: Any) -> tuple[int, str]:
        await sdk("open", name=name, url=url(served), **options)
        failure = (await run(sdk, name, message))["failure"]
        return failure["status"], failure["payload"]["code"]

    async with api_keys() as mode:
        sections = mode.sections(tmp_path, rate_limits={"default": "1/h"})
        served = await serve(Researcher(), expose=EXPOSE, limits={"max_body_bytes": 2000}, **sections)
        headers = mode.key("owner")
        assert await refused("nobody") == (401, "AUTH_ERROR")
        assert await refused("large", "x" * 2000, headers=headers) == (413, "PAYLOAD_TOO_LARGE")
        await sdk("open", name="known", url=url(served), headers=headers)
        assert kinds(await run(sdk, "known"))[-1] == "RUN_FINISHED"
        assert await refused("often", headers=headers) == (429, "RATE_LIMIT_EXCEEDED")


async def test_a_question_is_an_interrupt_that_the_next_run_answers(serve: Serve, sdk: SDK) -> None:
    schema = {"type": "object", "properties": {"send": {"type": "boolean"}}, "required": ["send"]}

    async def asks(_: Any, context: StreamContext) -> dict[str, Any]:
        await context.emit_token("Let me ask.")
        answer = await context.ask("Send it?", schema)
        return {"answer": f"Sent: {answer['send']}"}

    served = await serve(asks, expose=EXPOSE)
    await sdk("open", name="asked", url=url(served), threadId="t")
    seen = await run(sdk, "asked", runId="first")
    assert kinds(seen)[-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    (interrupt,) = seen["pendingInterrupts"]
    assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Send it?")
    assert interrupt["responseSchema"] == schema
    assert (await served.record("first"))["status"] == "running"

    def resumed(payload: Any) -> list[dict[str, Any]]:
        return [{"interruptId": interrupt["id"], "status": "resolved", "payload": payload}]

    wrong = await run(sdk, "asked", None, resume=resumed({"send": "x"}))
    assert (wrong["failure"]["status"], wrong["failure"]["payload"]["details"][0]["path"]) == (400, "$.send")
    seen = await run(sdk, "asked", None, runId="second", resume=resumed({"send": True}))
    assert [event.get("runId") for event in (seen["events"][0], seen["events"][-1])] == ["second"] * 2
    assert (kinds(seen)[:2], kinds(seen)[-1]) == (["RUN_STARTED", "CUSTOM"], "RUN_FINISHED")
    assert seen["messages"][-1]["content"] == "Sent: True"
    assert (seen["pendingInterrupts"], seen["reported"]) == ([], [])
    assert (await served.record("first"))["status"] == "completed"
    again = await run(sdk, "asked", None, resume=resumed({"send": True}))
    assert again["failure"]["payload"]["code"] == "CONFLICT"

    await run(sdk, "asked", runId="third")
    abandoned = [{"interruptId": f"third:{(await waiting(served, 'third'))}", "status": "cancelled"}]
    seen = await run(sdk, "asked", None, resume=abandoned)
    assert seen["events"][-1]["outcome"] == {"type": "cancelled"}
    assert (await served.finished("third"))["status"] == "cancelled"


async def waiting(served: Served, run_id: str) -> str:
    return str((await served.record(run_id))["waiting_for"]["request_id"])
