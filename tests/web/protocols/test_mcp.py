"""The agent as a tool of MCP, called by the real client, with a handshake and without."""

import asyncio
from typing import Any

import pytest
from mcp import MCPError

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import Waits
from tests.web.protocols.mcp_client import JSON, LATEST, MCP, Progress, call, latest, post, request, sdk
from tests.web.protocols.tiny import streams_open
from tests.web.repeating import EVERY_BACKEND, KEY
from tests.web.test_ownership import replicas
from tests.web.typed_service import agent as typed

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
INPUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
OUTPUT = {"type": "object", "properties": {"double": {"type": "integer"}}, "required": ["double"]}


async def works(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    await context.emit_progress("count", 0.25, "Counting")
    await context.emit_progress("rest", 0.5)
    await context.emit_step("summing")
    await context.emit_tool_call("add", {"n": payload["n"]}, "c1")
    await context.emit_tool_result("c1", result=1)
    return {"double": 2 * payload["n"]}


@pytest.mark.usefixtures("notified_of_activity_once")
@MODES
async def test_conversation_with_structured_output_and_progress(serve: Serve, mode: str) -> None:
    io_schema = {"input": INPUT, "output": OUTPUT}
    agent = {"name": "tested", "description": "Doubles.", "handler": "tests.support:placeholder"}
    served = await serve(works, agent=agent, expose=MCP, io_schema=io_schema, metadata={"version": "7"})
    async with sdk(served, mode=mode) as client:
        assert client.protocol_version == (LATEST if mode == "auto" else "2025-11-25")
        assert client.server_info is None or client.server_info.name == "tested"
        (tool,) = (await client.list_tools()).tools
        assert (tool.name, tool.description) == ("tested", "Doubles.")
        assert (tool.input_schema, tool.output_schema) == (INPUT, OUTPUT)
        progress = Progress()
        result = await client.call_tool("tested", {"n": 21}, progress_callback=progress)
        assert (result.structured_content, result.is_error) == ({"double": 42}, False)
        assert [content.text for content in result.content if content.type == "text"] == ['{"double":42}']
        wrong = await client.call_tool("tested", {"n": "x"})
        assert wrong.is_error
        (content,) = wrong.content
        assert content.type == "text"
        assert "$.n" in content.text
        with pytest.raises(MCPError, match="unknown tool 'other'"):
            await client.call_tool("other", {})
    assert progress.messages == [None, "Counting", "rest", "summing", "calls add"]
    assert [(value / total) for value, total, _ in progress.seen if total is not None] == [0.25, 0.5]
    assert [value for value, _, _ in progress.seen] == [1, 2, 3, 4, 5]


@MODES
async def test_reply_is_text_and_a_failure_a_result(serve: Serve, mode: str) -> None:
    async def agent(payload: dict[str, Any], context: StreamContext) -> dict[str, str]:
        if payload.get("fail"):
            raise ValueError("no such thing")
        for word in ("Hel", "lo"):
            await context.emit_token(word)
        return {"answer": "unused"}

    served = await serve(agent, expose=MCP)
    async with sdk(served, mode=mode) as client:
        (tool,) = (await client.list_tools()).tools
        assert (tool.input_schema, tool.output_schema) == ({"type": "object"}, None)
        for arguments, text, is_error in (
            ({}, "Hello", False),
            ({"fail": True}, "ValueError: no such thing", True),
        ):
            result = await client.call_tool("tested", arguments)
            (content,) = result.content
            assert content.type == "text"
            assert (content.text, result.is_error) == (text, is_error)
            assert result.structured_content is None


async def test_output_that_breaks_its_schema_is_an_error(serve: Serve) -> None:
    served = await serve(lambda _: {"double": "x"}, expose=MCP, io_schema={"output": OUTPUT})
    async with sdk(served) as client:
        result = await client.call_tool("tested", {})
        assert (result.is_error, result.structured_content) == (True, None)
        assert '{"double":"x"}' in str(result.content)
    loose = await serve(lambda _: {"double": "x"}, expose=MCP, io_schema={"output": OUTPUT, "strict": False})
    async with sdk(loose) as client:
        assert (await client.list_tools()).tools[0].output_schema is None
        assert not (await client.call_tool("tested", {})).is_error


async def test_payload_that_is_no_object_is_an_argument(serve: Serve) -> None:
    served = await serve(lambda text: text.upper(), expose=MCP, io_schema={"input": {"type": "string"}})
    async with sdk(served) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.input_schema["properties"] == {"input": {"type": "string"}}
        for arguments, text in (({"input": "abc"}, "ABC"), ({}, "give one argument"), ({"input": 1}, "$: 1")):
            result = await client.call_tool("tested", arguments)
            assert text in str(result.content), arguments


async def test_caller_who_cancels_cancels_the_run(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=MCP)
    async with sdk(served) as client:
        calling = asyncio.create_task(client.call_tool("tested", {}))
        await streams_open(served, 1)
        calling.cancel()
        await wait_until(lambda: agent.stopped)
    await streams_open(served, 0)
    async with sdk(served, mode="legacy") as client:
        calling = asyncio.create_task(client.call_tool("tested", {}))
        await streams_open(served, 1)
    await wait_until(lambda: not served.service.streams._deadlines)  # its connection is closed
    calling.cancel()


async def test_run_that_somebody_cancels_is_a_failed_call(serve: Serve) -> None:
    served = await serve(Waits(), expose=MCP)
    async with sdk(served) as client:
        calling = asyncio.create_task(client.call_tool("tested", {}))
        await streams_open(served, 1)
        async with served.client.get("/runs") as response:
            run_id = (await response.json())["items"][0]["run_id"]
        async with served.client.delete(f"/runs/{run_id}?reason=enough") as response:
            assert response.status == 200
        result = await calling
    assert result.is_error
    assert "the run was cancelled: enough" in str(result.content)


@EVERY_BACKEND
async def test_call_that_is_sent_again_is_the_same_run_on_any_replica(serve: Serve) -> None:
    here, there = await replicas(serve, works, expose=MCP)
    body, headers = latest(call(here, n=2), progressToken="p")
    answers = [await post(each, body, headers | KEY) for each in (here, there, here)]
    assert len({response["X-Run-Id"] for _, _, response in answers}) == 1
    assert [response.get("Idempotency-Replayed") for _, _, response in answers] == [None, "true", "true"]
    assert answers[0][1] == answers[1][1]
    assert (await post(there, body | {"id": 2}, headers | KEY))[0] == 422


async def test_call_without_a_stream_is_json(serve: Serve) -> None:
    served = await serve(works, expose=MCP)
    body = request(params={"name": "tested", "arguments": {"n": 2}, "_meta": {"progressToken": 1}})
    async with served.client.post("/mcp", json=body, headers={"Accept": JSON}) as response:
        assert (response.status, response.content_type) == (200, JSON)
        assert response.headers["X-Run-Id"]
        assert await response.json() == {
            "jsonrpc": "2.0",
            "id": 1,
            "result": {"content": [{"type": "text", "text": '{"double":4}'}], "isError": False},
        }
    status, found, _ = await post(served, body, {"Accept": "text/html"})
    assert (status, found["error"]["data"]["code"]) == (406, "NOT_ACCEPTABLE")


async def test_silent_call_is_kept_alive(serve: Serve) -> None:
    streaming = {"events": {"heartbeat_interval": 0.1}}
    served = await serve(agent := Waits(), expose=MCP, streaming=streaming)
    async with served.client.post("/mcp", json=request()) as response:
        assert await response.content.readuntil(b"\n") == b": keep-alive\n"
        agent.go.set()
        assert b'"isError":false' in await response.read()


async def test_service_that_drains_ends_calls_with_an_error(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=MCP)
    calls = [asyncio.create_task(post(served, request(), {"Accept": accept})) for accept in ("*/*", JSON)]
    await streams_open(served, 1)
    await wait_until(lambda: len(served.service.invocations._deadlines) == 1)
    served.service.runs.draining = True
    await served.service.streams.end(0)
    await served.service.invocations.end(0)
    for (status, found, _), expected in zip(
        await asyncio.gather(*calls), ((200, "DRAINING"), (503, "SERVICE_UNAVAILABLE")), strict=True
    ):
        assert (found["id"], found["error"]["code"]) == (1, -32603)
        assert (status, found["error"]["data"]["code"]) == expected
    status, found, headers = await post(served, request())
    assert (status, found["id"], headers["Retry-After"]) == (503, 1, "5")
    agent.go.set()


@pytest.mark.parametrize("handler", ["answer", "order", "point"])
async def test_typed_handler_says_what_its_tool_takes(serve: Serve, handler: str) -> None:
    served = await serve(agent=typed(handler), expose=MCP)
    async with served.client.get("/schema") as response:
        declared = await response.json()
    async with sdk(served) as client:
        (tool,) = (await client.list_tools()).tools
    assert tool.input_schema == {"type": "object"} | declared["input_schema"]
    output = declared["output_schema"]
    assert tool.output_schema == (None if handler == "point" else {"type": "object"} | output)


@pytest.mark.parametrize(("handler", "given"), [("shape", {"x": 1, "y": 2}), ("text", "abc")])
async def test_payload_of_a_typed_handler_that_is_no_object(serve: Serve, handler: str, given: Any) -> None:
    served = await serve(agent=typed(handler), expose=MCP)
    async with sdk(served) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.input_schema["required"] == ["input"]
        result = await client.call_tool("tested", {"input": given})
        assert not result.is_error, result
