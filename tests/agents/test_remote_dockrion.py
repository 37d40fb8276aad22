"""A Dockrion as the agent process of another one."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.agents.harness import Endless, bench
from tests.agents.processes import remote
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served


async def everything(payload: dict[str, Any], context: StreamContext) -> Any:
    await context.emit_progress("s", 0.5, "half")
    await context.emit_token("a", "stop")
    await context.emit_step("n", 1.5, ["i"], ["o"])
    await context.checkpoint("c", {"deep": [None]})
    await context.emit_heartbeat()
    await context.emit("own", {"a": 1})
    return payload


def url_of(inner: Served, path: str) -> str:
    return str(inner.client.make_url(path))


async def test_every_event_and_the_output_arrive(serve: Serve) -> None:
    inner = await serve(everything)
    async with remote(url_of(inner, "/invoke/stream")) as agent, bench(agent) as runs:
        ended = await runs.run({"a": 1})
    assert ended.output == {"a": 1}
    assert ended.types == [
        "started",
        "progress",
        "token",
        "step",
        "checkpoint",
        "heartbeat",
        "custom:own",
        "complete",
    ]
    assert ended.own[1] == {"type": "token", "content": "a", "finish_reason": "stop"}
    assert ended.own[2]["output_keys"] == ["o"]
    assert ended.own[5] == {"type": "custom:own", "a": 1}


async def test_invocation_is_forwarded(serve: Serve) -> None:
    inner = await serve(everything)
    async with remote(url_of(inner, "/invoke/stream")) as agent, bench(agent) as runs:
        assert await runs.invoke({"a": 1}) == {"a": 1}


async def test_failure_keeps_its_code_and_details(serve: Serve) -> None:
    def failing(_payload: Any) -> None:
        raise LookupError("nothing there")

    inner = await serve(failing)
    async with remote(url_of(inner, "/invoke/stream")) as agent, bench(agent) as runs:
        ended = await runs.run({})
    assert ended.error == "LookupError: nothing there"
    assert ended.code == "AGENT_EXECUTION_ERROR"
    assert ended.terminal["details"] == {"type": "LookupError"}


@pytest.mark.parametrize("path", ["/nowhere", "/health"])
async def test_error_status_is_forwarded(serve: Serve, path: str) -> None:
    inner = await serve(everything)
    async with remote(url_of(inner, path)) as agent, bench(agent) as runs:
        ended = await runs.run({})
    assert ended.terminal["details"]["status"] in (404, 405)


async def test_cancel_reaches_the_inner_agent(serve: Serve) -> None:
    endless = Endless()
    inner = await serve(endless)
    async with remote(url_of(inner, "/invoke/stream")) as agent, bench(agent) as runs:
        run_id = await runs.start({})
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(endless.stopped.wait(), TIMEOUT_SECONDS)


async def test_health_of_the_inner_service_is_used(serve: Serve) -> None:
    inner = await serve(everything)
    async with remote(url_of(inner, "/invoke/stream"), health_url=url_of(inner, "/ready")) as agent:
        await agent.check()
