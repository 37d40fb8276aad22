"""The content of runs in spans: none, unless it is asked for; then masked."""

from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import INVOKE, invoke, start, tracing
from tests.web.helpers import Waits

PAYLOAD, ARGUMENT, RESULT, OUTPUT = "asked", "argued", "found", "answered"
PRIVATE = (PAYLOAD, ARGUMENT, RESULT, OUTPUT)
SECRET = "a secret of this service"


async def agent(_: Any, context: StreamContext) -> Any:
    async with context.tool("search", {"q": ARGUMENT, "key": SECRET}) as call:
        call.result = {"found": RESULT, "key": SECRET}
    await context.checkpoint("half", {"so far": RESULT, "key": SECRET})
    return {"output": OUTPUT, "key": SECRET}


def message(text: str, role: str, **more: str) -> list[dict[str, Any]]:
    return [{"role": role, "parts": [{"type": "text", "content": text}], **more}]


def services(collector: Collector, **fields: Any) -> dict[str, Any]:
    return {
        "observability": tracing(collector, **fields),
        "secrets": {"optional": [{"name": "TESTS_SECRET", "default": SECRET}]},
        "io_schema": {"input": {"properties": {"password": {"type": "string", "writeOnly": True}}}},
    }


@pytest.mark.parametrize("endpoint", ["/invoke", "/runs"])
async def test_spans_have_no_content(collector: Collector, serve: Serve, endpoint: str) -> None:
    served = await serve(agent, **services(collector))
    await served.client.post(endpoint, json={"q": PAYLOAD})
    await collector.span(INVOKE)
    for text in (*PRIVATE, SECRET):
        assert not any(text.encode() in body for body in collector.bodies)


@pytest.mark.parametrize("endpoint", ["/invoke", "/runs"])
@pytest.mark.parametrize("allowed", ["minimal", "all"])
async def test_content_that_is_asked_for_is_masked(
    collector: Collector, serve: Serve, endpoint: str, allowed: str
) -> None:
    served = await serve(
        agent, **services(collector, capture_content=True), streaming={"events": {"allowed": allowed}}
    )
    payload = {"q": PAYLOAD, "key": SECRET, "password": "only written"}
    async with served.client.post(endpoint, json=payload) as response:
        assert response.status in (200, 202), await response.text()
    run, tool = await collector.span(INVOKE), await collector.span("execute_tool search")
    shown = {
        name: msgspec.json.decode(run.attributes[f"gen_ai.{name}.messages"]) for name in ("input", "output")
    }
    assert shown == {
        "input": message('{"q":"asked","key":"***","password":"***"}', "user"),
        "output": message('{"output":"answered","key":"***"}', "assistant", finish_reason="stop"),
    }
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"q":"argued","key":"***"}'
    assert tool.attributes["gen_ai.tool.call.result"] == '{"found":"found","key":"***"}'
    (checkpoint,) = [each for each in run.events if each.name == "dockrion.checkpoint"]
    assert checkpoint.attributes["dockrion.checkpoint.data"] == '{"so far":"found","key":"***"}'
    assert not any(SECRET.encode() in body for body in collector.bodies)


async def test_the_output_policy_applies_to_content(collector: Collector, serve: Serve) -> None:
    served = await serve(
        lambda payload: payload,
        observability=tracing(collector, capture_content=True),
        policies={"safety": {"redact_patterns": ["[0-9]{4}"]}},
    )
    assert await invoke(served, {"card": "1234"}) == 200
    run = await collector.span(INVOKE)
    assert not any(b"1234" in str(value).encode() for value in run.attributes.values())


async def test_messages_of_errors_and_reasons_are_content(collector: Collector, serve: Serve) -> None:
    def fail(_: Any) -> None:
        raise ValueError(f"{SECRET} and words")

    served = await serve(fail, **services(collector, capture_content=True))
    assert await invoke(served) == 500
    assert (await collector.span(INVOKE)).message == "ValueError: *** and words"
    collector.spans.clear()
    served.use(waiting := Waits())
    run_id = await start(served)
    await wait_until(lambda: waiting.payloads)
    await served.client.delete(f"/runs/{run_id}", params={"reason": f"{SECRET} and words"})
    (cancel,) = [each for each in (await collector.span(INVOKE)).events if each.name == "dockrion.cancel"]
    assert cancel.attributes == {"dockrion.cancel.reason": "*** and words"}


async def test_a_secret_answer_is_masked_in_what_follows(collector: Collector, serve: Serve) -> None:
    async def asks(_: Any, context: StreamContext) -> Any:
        pin = await context.ask("PIN?", secret=True)
        async with context.tool("unlock", {"pin": pin}) as call:
            call.result = pin
        return {"pin": pin}

    served = await serve(asks, observability=tracing(collector, capture_content=True))
    run_id = await start(served)
    async with served.events(run_id) as reader:
        question = data((await reader.until("input_requested"))[-1])
        answer = {"request_id": question["request_id"], "value": "a secret answer"}
        async with served.client.post(f"/runs/{run_id}/input", json=answer) as response:
            assert response.status == 202, await response.text()
        await reader.all()
    await collector.span(INVOKE)
    assert not any(b"a secret answer" in body for body in collector.bodies)


async def test_large_content_is_left_out(collector: Collector, serve: Serve) -> None:
    async def large(_: Any, context: StreamContext) -> Any:
        async with context.tool("read") as call:
            call.result = "x" * 300_000
        async with context.tool("count") as call:
            call.result = "x" * 100_000

    served = await serve(large, observability=tracing(collector, capture_content=True))
    assert await invoke(served) == 200
    results = {
        span.name: span.attributes["gen_ai.tool.call.result"]
        for span in (await collector.span("execute_tool read"), await collector.span("execute_tool count"))
    }
    assert results["execute_tool read"] == "<300002 bytes of JSON>"
    assert len(results["execute_tool count"]) == 64 * 1024
