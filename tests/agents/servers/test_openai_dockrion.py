"""A Dockrion as the agent of another one, through its OpenAI-compatible API."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockrion import StreamContext
from tests.agents.harness import Ended, Endless, bench
from tests.agents.processes import remote
from tests.agents.servers.openai_server import MODEL, PAYLOAD
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served

SHOWN: dict[str, Any] = {"expose": {"protocols": ["openai"]}, "openai": {"show_tools": True}}


async def speaks(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    await context.emit_progress("read", 0.5)
    await context.emit_reasoning("Hm.")
    await context.emit_token("Let me see.")
    call = await context.emit_tool_call("search", {"q": payload["messages"][-1]["content"]}, "call-1")
    await context.emit_tool_result(call, ["sun"])
    await context.emit("own", {"a": 1})
    await context.emit_token(" No")
    await context.emit_token(" rain.", "length")
    await context.emit_usage("gpt", 3, 4)
    return {"answer": "No rain."}


async def through(inner: Served, **spec: Any) -> Ended:
    url = str(inner.client.make_url("/v1/chat/completions"))
    async with remote(url, protocol="openai", model=MODEL, **spec) as agent, bench(agent) as runs:
        return await runs.run(PAYLOAD)


async def directly(agent: Callable[..., Any]) -> Ended:
    async with bench(agent) as runs:
        return await runs.run(PAYLOAD)


async def test_events_are_those_that_the_protocol_carries(serve: Serve) -> None:
    ended = await through(await serve(speaks, **SHOWN))
    direct = [
        each for each in (await directly(speaks)).own if each["type"] in ("reasoning", "token", "tool_call")
    ]
    assert direct[-1].pop("finish_reason") == "length"
    paragraph = {"type": "token", "content": "\n\n", "finish_reason": None}  # after a tool call
    assert ended.own == [
        *direct[:3],
        paragraph,
        direct[3],
        direct[4] | {"finish_reason": None},
        {"type": "token", "content": "", "finish_reason": "length"},
        {
            "type": "usage",
            "model": MODEL,
            "input_tokens": 3,
            "output_tokens": 4,
            "total_tokens": 7,
            "details": None,
        },
    ]
    assert ended.output == "Let me see.\n\n No rain."


async def test_an_output_without_tokens_is_the_text(serve: Serve) -> None:
    ended = await through(await serve(lambda _: {"answer": "No."}, **SHOWN))
    assert ended.output == "No."


async def test_a_failure_keeps_its_code(serve: Serve) -> None:
    def fails(_payload: Any) -> None:
        raise LookupError("nothing there")

    ended = await through(await serve(fails, **SHOWN))
    assert (ended.code, ended.error) == ("AGENT_EXECUTION_ERROR", "LookupError: nothing there")


async def test_a_refused_request_says_why(serve: Serve) -> None:
    inner = await serve(speaks, **SHOWN, io_schema={"input": {"required": ["question"]}})
    ended = await through(inner)
    assert ended.error.startswith("the agent's server responded with status 400: ")
    assert ended.terminal["details"]["code"] == "invalid_request"


async def test_the_key_opens_the_other_service(serve: Serve, tmp_path: Path) -> None:
    key = "a-key-that-is-long-enough"
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={key}\n")  # beside the Dockfile
    inner = await serve(speaks, **SHOWN, auth={"mode": "api_key"})
    assert (await through(inner, token=key)).output
    assert (await through(inner, token="another")).terminal["details"]["status"] == 401


async def test_a_cancel_reaches_the_other_service(serve: Serve) -> None:
    endless = Endless()
    inner = await serve(endless, **SHOWN)
    url = str(inner.client.make_url("/v1/chat/completions"))
    async with remote(url, protocol="openai", model=MODEL) as agent, bench(agent) as runs:
        run_id = await runs.start(PAYLOAD)
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(endless.stopped.wait(), TIMEOUT_SECONDS)
