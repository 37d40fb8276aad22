"""A Dockrion as the agent of another one, through A2A."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dockrion import StreamContext
from tests.agents.harness import Bench, Ended, bench
from tests.agents.processes import remote
from tests.agents.servers.openai_server import PAYLOAD
from tests.agents.servers.test_ag_ui_dockrion import asks_for_a_secret, direct, speaks
from tests.conftest import Serve
from tests.runs.asking import answer, waiting
from tests.support import TIMEOUT_SECONDS, Served

A2A: dict[str, Any] = {"expose": {"protocols": ["a2a"]}}


@asynccontextmanager
async def through(inner: Served, **spec: Any) -> AsyncIterator[Bench]:
    url = str(inner.client.make_url("/a2a"))
    async with remote(url, protocol="a2a", **spec) as agent, bench(agent) as runs:
        yield runs


async def ran_through(inner: Served, payload: Any = None) -> Ended:
    async with through(inner) as runs:
        return await runs.run(PAYLOAD if payload is None else payload)


def carried(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events without what the protocol does not carry of tokens: their messages."""
    return [
        {"type": "token", "content": each["content"].removeprefix("\n\n")}
        if each["type"] == "token"
        else each
        for each in events
    ]


async def test_events_and_the_output_are_the_same_as_directly(serve: Serve) -> None:
    ended, directly = await ran_through(await serve(speaks, **A2A)), await direct(speaks)
    assert carried(ended.own) == carried(directly.own)
    assert ended.output == directly.output
    assert ended.tokens == ["Let me see.", "\n\nNo", " rain."]
    assert {each["message_id"] for each in ended.own if each["type"] == "token"} == {"reply"}


async def test_an_output_without_tokens_is_the_same_as_directly(serve: Serve) -> None:
    ended = await ran_through(await serve(lambda _: {"answer": "No."}, **A2A))
    assert (ended.tokens, ended.output) == (["No."], {"answer": "No."})


async def test_a_payload_without_messages_arrives_as_it_is(serve: Serve) -> None:
    ended = await ran_through(await serve(lambda payload: payload, **A2A), {"a": [1, None]})
    assert ended.output == {"a": [1, None]}


async def test_a_failure_is_the_same_as_directly(serve: Serve) -> None:
    def fails(_payload: Any) -> None:
        raise LookupError("nothing there")

    ended, directly = await ran_through(await serve(fails, **A2A)), await direct(fails)
    wanted = ("error", "code", "details")
    assert [ended.terminal[name] for name in wanted] == [directly.terminal[name] for name in wanted]


async def asks(_payload: Any, context: StreamContext) -> Any:
    await context.emit_token("Hm.")
    booked = await context.ask("Book?", {"type": "boolean"})
    await context.emit_token(" Done.")
    return {"booked": booked}


async def test_a_person_is_asked_through_both(serve: Serve) -> None:
    async with through(await serve(asks, **A2A)) as runs:
        run_id = await runs.start(PAYLOAD)
        assert (await waiting(runs, run_id, "Book?")).schema == {"type": "boolean"}
        await answer(runs, run_id, value=True)
        ended = await runs.ended(run_id)
    types = [each["type"] for each in ended.own]
    assert types == ["token", "input_requested", "input_received", "token"]
    assert (ended.tokens, ended.output) == (["Hm.", " Done."], {"booked": True})


async def test_a_secret_answer_is_secret_in_both(serve: Serve) -> None:
    async with through(await serve(asks_for_a_secret, **A2A)) as runs:
        run_id = await runs.start(PAYLOAD)
        await answer(runs, run_id, value="hunter-2")
        ended = await runs.ended(run_id)
    assert ended.output is True
    assert "hunter-2" not in str(ended.events)


async def test_an_agent_goes_on_when_nobody_answers_it_in_time(serve: Serve) -> None:
    async def goes_on(_payload: Any, context: StreamContext) -> str:
        try:
            return str(await context.ask("Book?", timeout=0.01))
        except TimeoutError:
            await context.emit_token("Nobody is there.")
            return "no"

    async with through(await serve(goes_on, **A2A)) as runs:
        ended = await runs.run(PAYLOAD)
    assert (ended.tokens, ended.output) == (["Nobody is there."], "Nobody is there.")


async def test_a_cancel_stops_the_task(serve: Serve) -> None:
    stopped = asyncio.Event()

    async def works(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("begun")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with through(await serve(works, **A2A)) as runs:
        run_id = await runs.start(PAYLOAD)
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(stopped.wait(), TIMEOUT_SECONDS)


async def test_a_cancel_stops_a_task_that_asks(serve: Serve) -> None:
    inner = await serve(asks, **A2A)
    async with through(inner) as runs:
        run_id = await runs.start(PAYLOAD)
        await waiting(runs, run_id, "Book?")
        await runs.runs.cancel(run_id, "enough")
        assert (await runs.ended(run_id)).run.status == "cancelled"
    async with inner.client.get("/runs") as response:
        (run,) = (await response.json())["items"]
    assert run["status"] == "cancelled"
