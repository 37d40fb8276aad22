"""What a run asks, asked in the terminal."""

import asyncio
import os
import pty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest

from dockrion import InputTimeout, StreamContext
from dockrion.client import Client, InvalidRequest, Started
from dockrion.console.display import Display
from dockrion.console.questions import Questions, details
from dockrion.console.screen import CLEAR_LINE, Screen
from dockrion.console.standard_input import StandardInput
from tests.conftest import Serve
from tests.loop_clock import advance
from tests.support import Served, wait_until

PROMPT = "Send it? > "
SCHEMA: dict[str, Any] = {"type": "string", "minLength": 3}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Console:
    """A console that shows runs.

    Args:
        client: Reads them.
        lines: The descriptor that the user writes to.
        source: The other end of it.
        err: What the user sees of questions.
    """

    def __init__(self, client: Client, lines: int, source: StandardInput, err: StringIO) -> None:
        self.err = err
        self.out = StringIO()
        self._lines = lines
        self.client = client
        screen = Screen(self.out, err)
        self._display = Display(screen)
        self.questions = Questions(client, screen, source, lambda question: f"curl {question.request_id}")

    def enter(self, line: str) -> None:
        os.write(self._lines, f"{line}\n".encode())

    async def prompted(self, text: str) -> None:
        """Wait for a text on stderr, and remove it and what is before it."""
        await wait_until(lambda: text in self.err.getvalue())
        rest = self.err.getvalue().partition(text)[2]
        self.err.seek(0)
        self.err.truncate()
        self.err.write(rest)

    async def show(self, run_id: str) -> None:
        """Show a run to its end."""
        try:
            async for event in self.client.events(run_id):
                self._display.show(event)
                self.questions.update(event)
        finally:
            await self.questions.aclose()


@asynccontextmanager
async def console(
    served: Served, open_: Callable[[], tuple[int, int]], err: StringIO
) -> AsyncIterator[Console]:
    lines, source = open_()
    with closing(os.fdopen(source)) as file:
        async with Client(f"http://127.0.0.1:{served.port}") as client:
            yield Console(client, lines, StandardInput(file), err)
    os.close(lines)


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    return writing, reading


def nothing() -> tuple[int, int]:
    return os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)


async def asks(_payload: Any, context: StreamContext) -> Any:
    return await context.ask("Send it?\nReally?", SCHEMA)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (None, ""),
        (
            [{"path": "$.a", "message": '"to" is required'}, {"path": "$", "message": "x"}],
            '\n  $.a: "to" is required\n  $: x',
        ),
        ({"events_url": "/runs/a/events"}, '\n  {"events_url":"/runs/a/events"}'),
        ([{"path": "$"}], '\n  [{"path":"$"}]'),
    ],
    ids=str,
)
def test_the_details_of_a_refusal_are_listed_by_line(given: Any, lines: str) -> None:
    assert details(InvalidRequest(400, "VALIDATION_ERROR", "refused", given)) == lines


async def test_an_answer_that_breaks_the_schema_is_asked_for_again(serve: Serve) -> None:
    served = await serve(asks)
    async with console(served, pty.openpty, Terminal()) as shown:
        run_id = await served.start()
        showing = asyncio.create_task(shown.show(run_id))
        await shown.prompted("? Send it?\nReally?\n  (text that matches ")
        await shown.prompted(PROMPT)
        shown.enter("no")
        await shown.prompted('! the value does not match the schema of the question\n  $: "no" is shorter')
        await shown.prompted(PROMPT)
        shown.enter("yes")
        await showing
    assert (await served.finished(run_id))["output"] == "yes"
    assert '* answered: "yes"\n' in shown.out.getvalue()


async def test_questions_at_once_are_asked_one_by_one_and_text_goes_on_above(serve: Serve) -> None:
    go = asyncio.Event()

    async def ask_twice(_payload: Any, context: StreamContext) -> Any:
        asked = asyncio.gather(
            context.ask("One?"), context.ask("Two?", {"type": "integer"}), context.ask("Three?")
        )
        await go.wait()
        for word in ("It", " rains", " in Graz and on the hills that surround it, as it always does"):
            await context.emit_token(word)
        return await asked

    served = await serve(ask_twice)
    async with console(served, pty.openpty, Terminal()) as shown:
        run_id = await served.start()
        showing = asyncio.create_task(shown.show(run_id))
        await shown.prompted("One? > ")
        go.set()
        await shown.prompted(f"{CLEAR_LINE}One? > ")
        assert shown.out.getvalue().startswith("It rains in Graz")
        assert shown.out.getvalue().endswith("does\n")
        shown.enter("1")
        await shown.prompted("Two? > ")
        request_id = (await served.record(run_id))["waiting_for"]["request_id"]
        await answer(served, run_id, request_id, 2)
        await shown.prompted("Three? > ")
        shown.enter("{}")
        await showing
    assert (await served.finished(run_id))["output"] == [1, 2, {}]


async def answer(served: Served, run_id: str, request_id: str, value: Any) -> None:
    body = {"request_id": request_id, "value": value}
    async with served.client.post(f"/runs/{run_id}/input", json=body) as response:
        assert response.status == 202, await response.text()


async def test_lines_of_a_pipe_are_answers_and_then_the_command_is_shown(serve: Serve) -> None:
    async def ask_in_turn(_payload: Any, context: StreamContext) -> Any:
        return [await context.ask("One?", SCHEMA), await context.ask("Two?", secret=True) == "two"]

    served = await serve(ask_in_turn)
    async with console(served, pipe, StringIO()) as shown:
        shown.enter("1")
        shown.enter("one")
        run_id = await served.start()
        showing = asyncio.create_task(shown.show(run_id))
        await shown.prompted("shorter than 3 characters")
        await shown.prompted("? Two?\n  (text; until ")
        shown.enter("two")
        await showing
    assert (await served.finished(run_id))["output"] == ["one", True]
    assert "two" not in shown.out.getvalue()
    served.use(asks)
    async with console(served, nothing, StringIO()) as shown:
        run_id = await served.start()
        showing = asyncio.create_task(shown.show(run_id))
        await shown.prompted("to answer: curl ask_")
        request_id = (await served.record(run_id))["waiting_for"]["request_id"]
        await answer(served, run_id, request_id, "elsewhere")
        await showing
    assert (await served.finished(run_id))["output"] == "elsewhere"


async def test_what_an_earlier_attempt_has_asked_is_not_asked(serve: Serve) -> None:
    served = await serve(asks)
    async with console(served, pty.openpty, Terminal()) as shown:
        run_id = await served.start()
        async for event in shown.client.events(run_id):
            shown.questions.update(event)
            if event.type == "input_requested":
                break
        await shown.prompted(PROMPT)
        common: dict[str, Any] = {
            "id": f"{run_id}:3",
            "run_id": run_id,
            "sequence": 3,
            "timestamp": datetime.now(UTC),
        }
        again: dict[str, Any] = {"attempt": 2, "previous": "worker_lost"}
        shown.questions.update(Started(**common, agent_name="a", framework="custom", **again))
        await shown.prompted(CLEAR_LINE)
        await shown.questions.aclose()
    async with Client(f"http://127.0.0.1:{served.port}") as client:
        await client.cancel(run_id)


async def test_what_is_no_longer_asked_is_not_asked(serve: Serve) -> None:
    async def gives_up(_payload: Any, context: StreamContext) -> Any:
        try:
            return await context.ask("Send it?", timeout=5)
        except InputTimeout:
            return await context.ask("Then this?")

    served = await serve(gives_up)
    async with console(served, pty.openpty, Terminal()) as shown:
        run_id = await served.start()
        showing = asyncio.create_task(shown.show(run_id))
        await shown.prompted(PROMPT)
        await advance(5)
        await shown.prompted("! the time for this answer is over\n")
        await shown.prompted("Then this? > ")
        shown.enter("so be it")
        await showing
    assert (await served.finished(run_id))["output"] == "so be it"
    async with console(served, pipe, StringIO()) as shown:
        await shown.show(run_id)
        assert "to answer" not in shown.err.getvalue()
