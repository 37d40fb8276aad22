"""A Dockrion as the agent of another one, through AG-UI."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dockrion import StreamContext
from tests.agents.harness import Bench, Ended, bench
from tests.agents.processes import remote
from tests.agents.servers.openai_server import PAYLOAD
from tests.conftest import Serve
from tests.runs.asking import answer
from tests.support import Served

AG_UI: dict[str, Any] = {"expose": {"protocols": ["ag-ui"]}}


async def speaks(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    await context.emit_progress("read", 0.5)
    await context.emit_reasoning("Hm.", message_id="m")
    await context.emit_token("Let me see.", message_id="m")
    call = await context.emit_tool_call(
        "search", {"q": payload["messages"][-1]["content"]}, "c", message_id="m"
    )
    await context.emit_tool_result(call, "sun", duration_ms=1)
    await context.emit_step("plan")
    await context.checkpoint("done", {"a": [1]})
    await context.emit("own", {"a": 1})
    await context.emit("values", {"data": {"count": 1}})
    await context.emit_token("No", message_id="n")
    await context.emit_token(" rain.", message_id="n")
    await context.emit_usage("gpt", 3, 4)
    return {"rain": False}


@asynccontextmanager
async def through(inner: Served) -> AsyncIterator[Bench]:
    url = str(inner.client.make_url("/ag-ui"))
    async with remote(url, protocol="ag-ui") as agent, bench(agent) as runs:
        yield runs


async def ran_through(inner: Served) -> Ended:
    async with through(inner) as runs:
        return await runs.run(PAYLOAD)


def without_ids(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events without what the protocol does not carry: the agent's ids, and the names of results."""
    left_out = {"tool_result": ("name", "duration_ms")}
    return [
        {
            name: value
            for name, value in each.items()
            if name not in ("message_id", *left_out.get(each["type"], ()))
        }
        for each in events
    ]


async def direct(agent: Callable[..., Any]) -> Ended:
    async with bench(agent) as runs:
        return await runs.run(PAYLOAD)


async def test_events_and_the_output_are_the_same_as_directly(serve: Serve) -> None:
    ended, directly = await ran_through(await serve(speaks, **AG_UI)), await direct(speaks)
    assert without_ids(ended.own) == without_ids(directly.own)
    assert ended.output == directly.output
    ids = [each["message_id"].rpartition(":")[2] for each in ended.own if "message_id" in each]
    assert ids == [each["message_id"] for each in directly.own if "message_id" in each]


async def test_an_output_without_tokens_is_the_same_as_directly(serve: Serve) -> None:
    ended = await ran_through(await serve(lambda _: {"answer": "No."}, **AG_UI))
    assert (ended.tokens, ended.output) == (["No."], {"answer": "No."})


async def test_a_failure_is_the_same_as_directly(serve: Serve) -> None:
    def fails(_payload: Any) -> None:
        raise LookupError("nothing there")

    ended, directly = await ran_through(await serve(fails, **AG_UI)), await direct(fails)
    wanted = ("error", "code", "details")
    assert [ended.terminal[name] for name in wanted] == [directly.terminal[name] for name in wanted]


async def test_a_person_is_asked_through_both(serve: Serve) -> None:
    async def asks(_payload: Any, context: StreamContext) -> Any:
        await context.emit_token("Hm.")
        return {"booked": await context.ask("Book?", {"type": "boolean"})}

    async with through(await serve(asks, **AG_UI)) as runs:
        run_id = await runs.start(PAYLOAD)
        await answer(runs, run_id, value=True, prompt="Book?")
        ended = await runs.ended(run_id)
    types = [each["type"] for each in ended.own]
    assert types == ["token", "input_requested", "input_received", "token"]  # the output, as text
    assert ended.output == {"booked": True}


async def asks_for_a_secret(_payload: Any, context: StreamContext) -> bool:
    return bool(await context.ask("Password?", secret=True) == "hunter-2")


async def test_a_secret_answer_is_secret_in_both(serve: Serve) -> None:
    async with through(await serve(asks_for_a_secret, **AG_UI)) as runs:
        run_id = await runs.start(PAYLOAD)
        await answer(runs, run_id, value="hunter-2")
        ended = await runs.ended(run_id)
    assert ended.output is True
    assert "hunter-2" not in str(ended.events)
