"""The list of recent runs: what a row says, filters, older runs, runs made with Wait, and selecting two."""

import re
from datetime import datetime
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run
from tests.conftest import Serve
from tests.support import Served

SCHEMA = {"io_schema": {"input": {"properties": {"question": {"type": "string"}}}}}


async def answers(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    question = payload.get("question", "")
    if "fail" in question:
        raise ValueError("no luck")
    if "person" in question:
        await context.ask("Really?")
    return {"answer": f"{question} I know."}


async def asked(served: Served, *questions: str) -> None:
    """Start runs with these questions, named r0, r1, …"""
    for number, question in enumerate(questions):
        await served.start({"question": question}, run_id=f"r{number}")
        await served.finished(f"r{number}")


async def shown(page: Page, *questions: str) -> None:
    await expect(page.locator("#runs li:visible .name")).to_have_text(list(questions))


async def test_a_row_tells_question_outcome_duration_and_age(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    await asked(served, "What is tea?", "Does it fail?")
    await served.start({})
    page = await visit(served.port)
    rows = page.locator("#runs li")
    await expect(rows.nth(0).locator(".name")).to_have_text(re.compile(r"^[0-9a-f-]{36}$"))
    await expect(rows.nth(1)).to_have_text(re.compile(r"^Does it fail\? failed, [\w. ]+s, just now$"))
    await expect(rows.nth(2)).to_have_text(re.compile(r"^What is tea\? completed, [\w. ]+s, just now$"))
    outcomes = [
        await row.locator(".outcome").evaluate("each => getComputedStyle(each, '::before').content")
        for row in await rows.all()
    ]
    assert len(set(outcomes)) == 2, "outcomes differ in more than colour"
    created = datetime.fromisoformat((await served.record("r0"))["created_at"])
    time = rows.nth(2).locator("time")
    await expect(time).to_have_attribute("datetime", re.compile(created.strftime("^%Y-%m-%dT%H:%M:%S")))
    await expect(time).to_have_attribute("title", re.compile(r"\d+:\d\d:\d\d"))


async def test_ages_are_kept_up_to_date(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    await asked(served, "What is tea?")
    page = await visit(served.port, "favicon.ico")
    await page.clock.install()
    await page.goto(f"http://127.0.0.1:{served.port}/")
    time = page.locator("#runs time")
    await expect(time).to_have_text(", just now")  # by now the page has compared its clock with the service's
    for minutes, age in ((2, "2 min ago"), (60, "1 h ago"), (24 * 60, "yesterday"), (48 * 60, "3 days ago")):
        await page.clock.fast_forward(minutes * 60_000)
        await page.clock.run_for(15_000)
        await expect(time).to_have_text(f", {age}")


async def test_runs_are_filtered_by_status_and_text(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    await asked(served, "What is tea?", "Does tea fail?", "What is coffee?")
    await served.start({"question": "Ask a person."})
    page = await visit(served.port)
    await shown(page, "Ask a person.", "What is coffee?", "Does tea fail?", "What is tea?")
    await page.get_by_label("Filter the runs").fill("TEA")
    await shown(page, "Does tea fail?", "What is tea?")
    await expect(page.locator("#runs-found")).to_have_text("2 of 4 loaded runs contain this text.")
    await page.get_by_label("Status", exact=True).select_option("Failed")
    await shown(page, "Does tea fail?")
    await page.get_by_label("Filter the runs").fill("")
    for status, questions in (
        ("Waiting for an answer", ["Ask a person."]),
        ("Completed", ["What is coffee?", "What is tea?"]),
        ("Cancelled", []),
    ):
        await page.get_by_label("Status", exact=True).select_option(status)
        await shown(page, *questions)
    await expect(page.get_by_text("No runs with this status.")).to_be_visible()


async def test_older_runs_are_loaded_on_request(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    questions = [f"Question {number:02}?" for number in range(45)]
    await asked(served, *questions)
    page = await visit(served.port)
    await expect(page.locator("#runs li")).to_have_count(20)
    await press(page, "Load more")
    await expect(page.locator("#runs li")).to_have_count(40)
    await expect(page.get_by_role("button", name="Question 24?")).to_be_focused()
    await press(page, "Load more")
    await shown(page, *reversed(questions))
    await expect(page.locator("#more-runs")).to_be_hidden()
    await press(page, "Refresh")
    await shown(page, *reversed(questions))


async def test_opening_a_run_keeps_the_focus_and_arrows_move_it(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    await asked(served, "One?", "Two?", "Three?")
    page = await visit(served.port)
    row = page.get_by_role("button", name="Two?")
    await row.press("Enter")
    await expect(page.locator("#status")).to_have_text("Complete")
    async with page.expect_response("**/runs?*"):
        await served.start({"question": "Four?"})
        await page.evaluate("document.querySelector('#refresh').click()")
    await shown(page, "Four?", "Three?", "Two?", "One?")
    await expect(row).to_be_focused()
    await expect(row).to_have_attribute("aria-current", "true")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("button", name="One?")).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("button", name="Three?")).to_be_focused()


async def test_the_state_of_the_shown_run_is_live_and_an_empty_list_teaches(
    serve: Serve, visit: Visit
) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await expect(page.locator("#no-runs")).to_contain_text("No runs yet. Send a request")
    await expect(page.locator("#filters")).to_be_hidden()
    await run(page, "start")
    await expect(page.locator("#runs li")).to_have_count(1)
    await expect(page.locator("#no-runs")).to_be_hidden()
    agent.say("one")
    await expect(page.locator("#runs [aria-current=true]")).to_contain_text("running, just now")
    agent.end()
    await expect(page.locator("#runs [aria-current=true]")).to_contain_text(
        re.compile(r"completed, [\w. ]+s, just now")
    )


async def test_a_service_that_stores_no_inputs_says_how_to_see_questions(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, streaming={"store_input": False})
    await asked(served, "What is tea?")
    page = await visit(served.port)
    await shown(page, "r0")
    await expect(page.locator("#no-inputs")).to_contain_text("streaming.store_input: true")


async def test_runs_made_with_wait_are_listed_and_opened(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    await asked(served, "What is tea?")
    page = await visit(served.port)
    for question, status in (("What is mate?", "completed"), ("Does it fail?", "failed")):
        await page.locator("#fields textarea").fill(question)
        await run(page, "invoke")
        await expect(page.locator("#status")).to_have_class(status)
    await shown(page, "Does it fail?", "What is mate?", "What is tea?")
    row = page.get_by_role("button", name="What is mate?")
    await expect(row).to_have_text(re.compile(r"completed, [\w. ]+s, just now, not stored$"))
    await row.click()
    await expect(page.locator("#outcome")).to_contain_text("What is mate? I know.")
    await expect(page.locator("#question")).to_contain_text("What is mate?")
    await expect(row).to_have_attribute("aria-current", "true")
    await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    await page.get_by_role("button", name="What is tea?").click()
    await expect(page.locator("#outcome")).to_contain_text("What is tea? I know.")
    await page.go_back()
    await expect(page.locator("#outcome")).to_contain_text("What is mate? I know.")
    await page.get_by_role("button", name="Does it fail?").click()
    await expect(page.locator("#outcome")).to_contain_text("no luck")
    await page.reload()
    await expect(page.locator("#status")).to_have_text("This tab does not remember that output any more.")
    await shown(page, "What is tea?")


async def test_secrets_are_not_listed(serve: Serve, visit: Visit) -> None:
    properties = {"pin": {"type": "string", "writeOnly": True}, "topic": {"type": "string"}}
    served = await serve(answers, io_schema={"input": {"properties": properties}})
    page = await visit(served.port)
    for pattern, topic in (("stream", "tea"), ("invoke", "mate")):
        await page.get_by_label("pin").fill("1234")
        await page.get_by_label("topic").fill(topic)
        await run(page, pattern)
        await expect(page.locator("#runs .name").first).to_have_text(topic)


async def test_wait_is_listed_where_the_service_lists_no_runs(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA, streaming={"async_runs": False})
    page = await visit(served.port)
    await page.locator("#fields textarea").fill("What is tea?")
    await run(page, "invoke")
    await shown(page, "What is tea?")
    await expect(page.get_by_role("button", name="Refresh")).to_be_hidden()


async def test_a_refused_request_is_not_listed(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, io_schema={"input": {"not": {"required": ["wrong"]}}})
    page = await visit(served.port)
    await page.locator("#send").wait_for()  # what makes the form closes the editor
    await page.locator("#editor summary").click()
    await page.get_by_label("Request body").fill('{"wrong": 1}')
    async with page.expect_response(lambda response: response.status == 400):
        await run(page, "invoke")
    await expect(page.locator("#problem")).not_to_be_empty()
    await expect(page.locator("#runs li")).to_have_count(0)


REMEMBER = """async (sizes) => {
  const { begin } = await import("/assets/runs/invocations.js");
  for (const size of sizes) {
    const invocation = begin("{}", new AbortController().signal);
    invocation.end("completed", { output: "x".repeat(size) });
  }
}"""


@pytest.mark.usefixtures("modules")
async def test_a_tab_remembers_a_bounded_number_of_waits(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    page = await visit(served.port)
    await page.evaluate(REMEMBER, [1] * 25)
    await expect(page.locator("#runs li")).to_have_count(20)
    for size in (900_000, 3_000_000):
        await page.evaluate(REMEMBER, [size] * 3)
        await expect(page.locator("#runs li")).to_have_count(2 if size < 1_000_000 else 1)


async def test_two_runs_are_selected_and_compared(serve: Serve, visit: Visit) -> None:
    served = await serve(answers, **SCHEMA)
    page = await visit(served.port)
    await page.locator("#fields textarea").fill("What is mate?")
    await run(page, "invoke")
    await expect(page.get_by_role("button", name="Compare", exact=True)).to_be_disabled()
    await asked(served, "One?", "Two?", "Three?")
    await press(page, "Refresh")
    await press(page, "Compare")
    note, compare = page.locator("#selection-note"), page.get_by_role("button", name="Compare them")
    await expect(note).to_have_text("Select two runs.")
    await expect(page.get_by_role("checkbox")).to_have_count(3)  # none for what has no record
    await expect(page.get_by_role("checkbox", name="Select Three?")).to_be_focused()
    await page.keyboard.press("Space")
    await expect(note).to_have_text("Select one more.")
    await expect(compare).to_be_disabled()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("checkbox", name="Select Two?")).to_be_disabled()
    await assert_accessible(page)
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await press(page, "Compare them")
    await expect(page).to_have_url(re.compile(r"#compare=r0,r2$"))
    await expect(page.locator("#comparison")).to_be_visible()
    await expect(page.locator("#selection")).to_be_hidden()
    await press(page, "Compare")
    await page.keyboard.press("Escape")
    await expect(page.locator("#selection")).to_be_hidden()
    await expect(page.get_by_role("button", name="Compare", exact=True)).to_be_focused()
