"""A run as a conversation: its question, its cards, its output, and how the display grows."""

import asyncio
import json
import re
from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run
from tests.conftest import Serve

INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "maxLength": 2_000_000},
        "words": {"type": "integer"},
        "pin": {"type": "string", "writeOnly": True},
        "filters": {"type": "object"},
    },
    "required": ["topic"],
}
AT_END = """() => {
    const box = document.getElementById("transcript");
    return box.scrollHeight > box.clientHeight && box.scrollHeight - box.scrollTop - box.clientHeight < 2;
}"""


async def test_question_of_a_run_is_shown_to_whoever_opens_it_asked_again_and_changed(
    serve: Serve, visit: Visit
) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, io_schema={"input": INPUT})
    agent.say("It pours.")
    agent.end()
    page = await visit(served.port)
    await page.get_by_label("topic").fill("Rain")
    await page.get_by_label("pin").fill("4711")
    await page.get_by_label("words").fill("20")
    await page.get_by_label("filters").fill('{"near": ["Rome"]}')
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    asked = {"topic": "Rain", "words": 20, "pin": "4711", "filters": {"near": ["Rome"]}}
    shown = ["topicRain", "words20", "pin•••", 'filters{ "near": [ "Rome" ] }']
    other = await page.context.new_page()
    await other.goto(page.url)
    for tab in (page, other):
        await expect(tab.get_by_role("group", name="Question").locator("dl > div")).to_have_text(shown)
        await expect(tab.locator("#words")).to_have_text("It pours.")
    agent.end()
    await press(page, "Ask again")
    await expect(page.locator("#runs li")).to_have_count(2)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(other.get_by_role("button", name="Ask again")).to_be_hidden()  # the PIN is not stored
    await press(other, "Edit and ask")
    await expect(other.get_by_label("topic")).to_be_focused()
    await expect(other.get_by_label("pin")).to_have_value("")
    await other.get_by_label("topic").fill("Snow")
    await other.get_by_label("pin").fill("0815")
    agent.end()
    await run(other)
    await expect(other.get_by_role("group", name="Question")).to_contain_text("Snow")
    await expect(other.locator("#status")).to_have_text("Complete")
    assert agent.payloads == [asked, asked, asked | {"topic": "Snow", "pin": "0815"}]


async def test_inputs_are_shown_by_their_kind(serve: Serve, visit: Visit) -> None:
    served = await serve()
    page = await visit(served.port)
    many = {f"field{number}": number for number in range(40)}
    for body, shown in (
        ("Just\ntext", "Just text"),
        ({"question": "**Why?**"}, "**Why?**"),
        ({}, "No fields"),
        ([1, "two"], '[ 1, "two" ]'),
        ({"on": None, "text": ""}, "onnulltextempty"),
        (many, json.dumps(many, indent=1).replace("\n", " ").replace("  ", " ")),
    ):
        run_id = await served.start(body)
        await served.finished(run_id)
        await page.goto(f"http://127.0.0.1:{served.port}/#run={run_id}")
        await expect(page.locator("#question .bubble")).to_have_text(f"Input: {shown}")


async def test_input_that_is_not_stored_is_shown_to_whoever_sent_it(serve: Serve, visit: Visit) -> None:
    served = await serve(streaming={"store_input": False})
    page = await visit(served.port)
    await page.get_by_label("Request body").fill('{"topic": "Rain"}')
    await run(page)
    await expect(page.locator("#question")).to_have_text("Input: Rain")
    await page.get_by_label("Request body").fill('{"topic": "Snow"}')
    await run(page)
    await expect(page.locator("#question")).to_have_text("Input: Snow")
    await page.go_back()
    await expect(page.locator("#question")).to_have_text("Input: Rain")
    await page.reload()
    await expect(page.locator("#question")).to_have_text("The input of this run is not stored.")
    await expect(page.get_by_role("button", name="Ask again")).to_be_hidden()


async def test_output_is_shown_where_it_was_not_said(serve: Serve, visit: Visit) -> None:
    async def answers(payload: Any, context: StreamContext) -> Any:
        for word in payload.get("said", []):
            await context.emit_token(word)
        return payload.get("output")

    served = await serve(answers)
    page = await visit(served.port)
    outcome = page.locator("#outcome .block")
    for payload, shown in (
        ({"output": "It is **wet**."}, ["It is wet."]),
        ({"output": {"answer": "It is **wet**."}}, ["It is wet."]),
        ({"said": ["It is ", "**wet**."], "output": "It is **wet**.\n"}, []),
        ({"said": ["Hm."], "output": None}, []),
        ({"said": ["Hm."], "output": {"text": "Wet.", "sure": True}}, ["Wet.", "Whole output"]),
        ({"output": [1]}, ["Output[ 1 ]"]),
        ({"output": None}, ["Outputnull"]),
        (
            {"output": {"messages": [{"type": "human", "content": "?"}, {"type": "ai", "content": "!"}]}},
            ["!"],
        ),
    ):
        run_id = await served.start(payload)
        await served.finished(run_id)
        await page.goto(f"http://127.0.0.1:{served.port}/#run={run_id}")
        await expect(page.locator("#run-id")).to_have_text(run_id)
        await expect(page.locator("#status")).to_have_text("Complete")
        await expect(outcome).to_have_text(shown)
    await expect(page.locator("#outcome strong")).to_have_count(0)
    await page.go_back()
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.locator("#outcome").get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == "null"


async def test_error_of_a_run_is_a_card_with_its_code_and_details(serve: Serve, visit: Visit) -> None:
    def fails(_payload: Any) -> None:
        raise ValueError("no luck")

    served = await serve(fails)
    page = await visit(served.port)
    for pattern in ("stream", "invoke"):
        await run(page, pattern)
        await expect(page.locator("#outcome .failure")).to_have_text(
            'Error AGENT_EXECUTION_ERRORValueError: no luck{"type":"ValueError"}'
        )
    await assert_accessible(page)


async def test_reader_at_the_end_stays_there_and_others_stay_where_they_are(
    serve: Serve, visit: Visit
) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port, viewport={"width": 1100, "height": 500})
    await run(page)
    for number in range(3):
        agent.say(f"start {number}\n\n" + "line\n\n" * 40 + f"end {number}\n\n")
        await expect(page.locator("#words")).to_contain_text(f"end {number}")
        await page.wait_for_function(AT_END)
    await page.locator("#transcript").evaluate("(box) => { box.scrollTop = 10; }")
    agent.say("more\n\nlast")
    agent.end()
    await expect(page.locator("#words")).to_contain_text("last")
    await expect(page.locator("#outcome")).to_contain_text("said")
    assert await page.locator("#transcript").evaluate("(box) => box.scrollTop") == 10


async def test_open_question_stays_last_and_its_answer_stays_where_it_was_given(
    serve: Serve, visit: Visit
) -> None:
    go = asyncio.Event()

    async def asks_and_talks(_payload: Any, context: StreamContext) -> None:
        question = asyncio.create_task(context.ask("Send it?", {"type": "boolean"}))
        while not context.cancelled and not question.done():
            await context.emit_token("Still waiting. ")
            await asyncio.wait([question], timeout=0.01)
        await context.emit_message("Sent.")
        await go.wait()

    served = await serve(asks_and_talks)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#words > .block")).to_have_count(2)
    await expect(page.locator("#words > .block").last.get_by_role("form", name="Send it?")).to_be_visible()
    await assert_accessible(page)
    await page.get_by_role("form", name="Send it?").get_by_role("button", name="Yes").click()
    await expect(page.locator("#words > .block").nth(1)).to_have_text("Send it?Answered: true")
    await expect(page.locator("#words > .block").last).to_have_text("Sent.")
    go.set()
    await expect(page.locator("#status")).to_have_text("Complete")


async def test_run_that_begins_again_says_so_and_answers_anew(serve: Serve, visit: Visit) -> None:
    go = asyncio.Event()

    async def twice(_payload: Any, context: StreamContext) -> str:
        await context.emit_token("The order ")
        await context.emit_tool_call("pay", {}, "c1")
        question = asyncio.create_task(context.ask("Send it?", {"type": "boolean"}))
        await go.wait()
        again = {"agent_name": "a", "framework": "custom", "attempt": 2, "previous": "worker_lost"}
        assert context._emitter.buffer is not None
        context._emitter.buffer.publish("started", again)
        await context.emit_token("It is placed.")
        question.cancel()
        return "It is placed."

    served = await serve(twice)
    page = await visit(served.port)
    await run(page)
    await expect(page.get_by_role("form", name="Send it?")).to_be_visible()
    go.set()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words > .block")).to_have_text(
        [
            "The order",
            "pay{}no result",
            "Send it?No longer asked",
            "The process that ran it is gone. Attempt 2:",
            "It is placed.",
        ]
    )
    await expect(page.locator("#outcome")).to_be_empty()
    await expect(page.get_by_role("gridcell", name="attempt 2")).to_have_count(1)
    await assert_accessible(page)


async def test_reasoning_is_folded_and_says_how_long_it_took(serve: Serve, visit: Visit) -> None:
    go = asyncio.Event()

    async def thinks(_payload: Any, context: StreamContext) -> None:
        await context.emit_reasoning("First ")
        await go.wait()
        await context.emit_reasoning("this.")
        await context.emit_token("Done.")

    served = await serve(thinks)
    page = await visit(served.port)
    await run(page)
    card = page.locator("#words .reasoning")
    await expect(card.locator("summary")).to_have_text("ReasoningFirst thinking")
    go.set()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(card.locator("summary .note")).to_have_text(re.compile(r"^[\d.]+ m?s$"))
    await expect(card.locator(".said")).to_be_hidden()
    await card.locator("summary").press("Enter")
    await expect(card.locator(".said")).to_have_text("First this.")


async def test_a_million_characters_stay_in_their_box(serve: Serve, visit: Visit) -> None:
    line = "x" * 1_000_000

    async def shouts(payload: Any, context: StreamContext) -> Any:
        await context.emit_message(line, "user", name=line[:1000])
        call = await context.emit_tool_call("look", {"at": line})
        await context.emit_tool_result(call, line)
        return {"same": payload["topic"]}

    served = await serve(shouts, io_schema={"input": INPUT})
    await served.start({"topic": line[:200_000]}, run_id="long")
    page = await visit(served.port, "#run=long", viewport={"width": 390, "height": 800})
    await expect(page.locator("#status")).to_have_text("Complete")
    await page.locator("#words summary").click()
    await expect(page.locator("#question")).to_contain_text("more characters")
    await expect(page.locator("#outcome")).to_contain_text("more characters")
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    box = await page.locator("#transcript").bounding_box()
    assert box is not None
    assert box["height"] <= 3 * 800
