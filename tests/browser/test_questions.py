"""What an agent asks, as forms of the page."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from dockrion import InputTimeout, StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run
from tests.browser.proxy import proxy
from tests.browser.test_access import AUTH, KEY, enter
from tests.browser.test_accessibility import CONTROLS, UNNAMED, WRONG_IDS
from tests.browser.test_untrusted_content import HTML, nothing_ran
from tests.conftest import Serve
from tests.support import Served, wait_until

LETTER: dict[str, Any] = {
    "type": "object",
    "properties": {"reader": {"type": "string", "minLength": 2}, "tone": {"enum": ["calm", "wild"]}},
    "required": ["reader"],
}
LOGIN: dict[str, Any] = {
    "type": "object",
    "properties": {"user": {"type": "string"}, "password": {"type": "string", "format": "password"}},
    "required": ["user", "password"],
}


def question(page: Page, prompt: str) -> Locator:
    return page.get_by_role("form", name=prompt)


async def asks(payload: Any, context: StreamContext) -> Any:
    return await context.ask("Send it?", {"type": "boolean"}, **payload)


async def answer(served: Served, run_id: str, value: Any, **headers: str) -> None:
    async with served.client.get(f"/runs/{run_id}", headers=headers) as response:
        request_id = (await response.json())["waiting_for"]["request_id"]
    body = {"request_id": request_id, "value": value}
    async with served.client.post(f"/runs/{run_id}/input", json=body, headers=headers) as response:
        assert response.status == 202, await response.text()


async def test_each_question_has_a_form_made_from_its_schema(serve: Serve, visit: Visit) -> None:
    async def asks_all(_payload: Any, context: StreamContext) -> Any:
        return await asyncio.gather(
            context.ask("Send it?", {"type": "boolean", "description": "It cannot be undone"}),
            context.ask("Which letter?", LETTER),
            context.ask("How, exactly?"),
            context.ask("The PIN?", {"type": "integer"}, secret=True),
            context.ask("The key?", secret=True),
            context.ask("Who are you?", LOGIN),
        )

    served = await serve(asks_all)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Waiting for an answer")
    await expect(page.locator("#announcement")).to_have_text("The agent asks: Who are you?")
    forms = page.locator("#words form")
    await expect(forms).to_have_count(6)
    assert await page.evaluate(UNNAMED, f"{CONTROLS}, form") == []
    assert await page.evaluate(WRONG_IDS) == []

    letter = question(page, "Which letter?")
    await letter.get_by_label("reader").fill("A")
    await letter.get_by_role("button", name="Answer").click()
    await expect(letter.get_by_role("alert")).to_have_text("Not sent yet: please correct one field.")
    await expect(letter.get_by_label("reader")).to_have_accessible_description(
        re.compile("^This must have at least 2 characters, and has 1.")
    )
    await expect(letter.get_by_label("reader")).to_be_focused()
    await expect(letter.get_by_label("reader")).to_have_attribute("aria-invalid", "true")
    await assert_accessible(page)
    await letter.get_by_label("reader").fill("Ada")
    await letter.get_by_label("tone").select_option("calm")
    await letter.get_by_role("button", name="Answer").click()
    await expect(letter).to_have_count(0)
    await expect(page.locator("#run")).to_be_focused()

    await question(page, "How, exactly?").get_by_label("Answer").fill("It's {so}")
    await question(page, "How, exactly?").get_by_role("button").click()
    await expect(page.locator("#curl")).to_contain_text("/input' --json")
    for prompt, secret in (("The PIN?", "1234"), ("The key?", "007")):
        await expect(question(page, prompt).get_by_label("Answer")).to_have_attribute("type", "password")
        await question(page, prompt).get_by_label("Answer").fill(secret)
        await question(page, prompt).get_by_role("button").click()
    login = question(page, "Who are you?")
    await login.get_by_label("user").fill("ada")
    await expect(login.get_by_label("password")).to_have_attribute("type", "password")
    await login.get_by_label("password").fill("p")
    await login.get_by_role("button").click()
    await expect(forms).to_have_count(1)
    assert "1234" not in await page.content()
    await expect(page.locator("#curl")).not_to_contain_text("password")
    await question(page, "Send it?").get_by_role("button", name="No").click()
    await expect(page.locator("#status")).to_have_text("Complete")
    run_id = await page.locator("#run-id").inner_text()
    assert (await served.record(run_id))["output"] == [
        False,
        {"reader": "Ada", "tone": "calm"},
        "It's {so}",
        1234,
        "007",
        {"user": "ada", "password": "p"},
    ]
    await expect(page.locator("#words .asked")).to_have_text(  # in the order in which they were answered
        [
            re.compile("^Which letter"),
            re.compile("^How, exactly"),
            "The PIN?Answered",
            "The key?Answered",
            re.compile("^Who are you"),
            "Send it?Answered: false",
        ]
    )


@pytest.mark.parametrize("streaming", ["sse", "none"])
async def test_a_question_outlasts_reloads_and_losses_until_it_is_answered_elsewhere(
    serve: Serve, visit: Visit, tmp_path: Path, streaming: str
) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(asks, auth=AUTH, expose={"streaming": streaming})
    async with proxy(served.port) as between:
        page = await visit(between.port)
        await enter(page, KEY)
        await run(page, "start")
        await expect(question(page, "Send it?")).to_be_visible()
        await expect(page.locator("#runs")).to_contain_text("waiting")
        await page.reload()
        await question(page, "Send it?").get_by_role("button", name="Yes").focus()
        between.cut()
        await expect(page.locator("#connection")).to_contain_text("trying again")
        await expect(question(page, "Send it?")).to_be_visible()
        run_id = await page.locator("#run-id").inner_text()
        await answer(served, run_id, True, **{"X-API-Key": KEY})
        between.restore()
        await expect(question(page, "Send it?")).to_have_count(0)
        await expect(page.locator("#run")).to_be_focused()
        await expect(page.locator("#status")).to_have_text("Complete")
        await page.reload()
        await expect(page.locator("#status")).to_have_text("Complete")
        await expect(page.locator("#words form")).to_have_count(0)


async def test_a_question_that_is_over_is_removed(serve: Serve, visit: Visit) -> None:
    go = asyncio.Event()

    async def gives_up(_payload: Any, context: StreamContext) -> Any:
        try:
            await context.ask("At once?", timeout=0.5)
        except InputTimeout:
            withdrawn = asyncio.create_task(context.ask("Or this?"))
            await go.wait()
            withdrawn.cancel()
            await asyncio.wait([withdrawn])
            return await context.ask("Or that?")

    served = await serve(gives_up)
    page = await visit(served.port)
    await run(page)
    await expect(question(page, "Or this?")).to_be_visible()
    await expect(question(page, "At once?")).to_have_count(0)
    go.set()
    await question(page, "Or this?").get_by_label("Answer").fill("yes")
    await expect(question(page, "Or that?")).to_be_visible()
    await question(page, "Or this?").get_by_role("button").click()
    await expect(question(page, "Or this?")).to_have_count(0)
    await expect(page.locator("#announcement")).to_contain_text("no longer asked")
    await press(page, "Stop")
    await expect(page.locator("#status")).to_contain_text("Cancelled")
    await expect(page.locator("#words form")).to_have_count(0)
    await expect(page.locator("#words .asked").last).to_have_text("Or that?Not answered")


async def test_questions_whose_events_are_filtered_are_found_in_the_record(
    serve: Serve, visit: Visit
) -> None:
    events = {"allowed": "chat", "heartbeat_interval": 1}
    served = await serve(asks, streaming={"events": events})
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Waiting for an answer")
    await question(page, "Send it?").get_by_role("button", name="Yes").click()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#outcome pre")).to_have_text("true")


async def test_what_a_question_contains_is_never_executed(serve: Serve, visit: Visit) -> None:
    tree: dict[str, Any] = {"type": "object", "properties": {}, "required": list("abcdefghij")}
    many = {"type": "object", "properties": {f"{HTML}{number}": {"type": "string"} for number in range(300)}}
    tree["properties"] = {
        name: {"type": "object", "properties": {"x": {"title": HTML}}} for name in "abcdefghij"
    }
    schemas = [
        tree,
        many,
        {"title": HTML, "description": HTML, "enum": [HTML]},
        {"type": "boolean", "description": HTML},
    ]

    async def asks_hostile(_payload: Any, context: StreamContext) -> Any:
        return await asyncio.gather(*(context.ask(HTML, schema) for schema in schemas))

    served = await serve(asks_hostile)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#words form")).to_have_count(4)
    for card in await page.locator("#words .asked").all():
        await expect(card).to_contain_text("<img src=x onerror=")
    await expect(page.locator("#words form").get_by_label("Answer", exact=True)).to_have_count(1)
    choice = page.locator("#words form").filter(has=page.locator("select"))
    await choice.locator("select").select_option(index=1)
    await choice.get_by_role("button").click()
    await expect(page.locator("#words .asked").first).to_contain_text("Answered: <script>")
    await nothing_ran(page)
    await press(page, "Stop")
    await wait_until(lambda: not served.service.runs._in_flight)
