"""Running the agent: the main action, its menu, and how the window shows the state of the run."""

import re
from typing import Any
from urllib.parse import unquote

from playwright.async_api import Page, expect

from dockrion import StreamContext
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run
from tests.conftest import Serve

TEXT = {"properties": {"text": {"type": "string", "maxLength": 100}, "notes": {"type": "string"}}}


def echoes(payload: object) -> object:
    return payload


async def test_menu_explains_each_way_to_run_and_remembers_the_choice(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes, io_schema={"input": TEXT})
    page = await visit(served.port)
    await press(page, "How to run: Stream")
    for name, endpoint in (
        ("Stream", "POST /invoke/stream"),
        ("Start and watch", "POST /runs"),
        ("Wait for the output", "POST /invoke"),
    ):
        choice = page.get_by_role("radio", name=name, exact=True)
        await expect(choice).to_have_accessible_description(re.compile(rf"^One request .*\. {endpoint}$"))
    await expect(page.get_by_role("radio", name="Stream")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("#patterns")).to_be_hidden()
    await expect(page.get_by_role("button", name="How to run: Wait for the output")).to_be_focused()
    await expect(page.locator("#status")).to_have_text("No run yet")
    await page.reload()
    await press(page, "How to run: Wait for the output")
    await page.keyboard.press("Escape")
    async with page.expect_request("**/invoke"):
        await press(page, "Run")
    await expect(page.locator("#status")).to_have_text("Complete")


async def test_shortcut_runs_from_anywhere_in_the_form(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, io_schema={"input": TEXT})
    page = await visit(served.port)
    await page.get_by_role("textbox", name="text").fill("Rain")
    await page.get_by_label("notes").fill("Wet")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#status")).to_have_text("Running")
    await press(page, "Stop")
    await expect(page.locator("#status")).to_have_text("Cancelled: stopped on the page")
    await expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    await page.get_by_text("Edit as JSON").press("Meta+Enter")
    await expect(page.locator("#status")).to_have_text("Running")
    await press(page, "Stop")
    await expect(page.locator("#status")).to_contain_text("Cancelled")
    assert agent.payloads == [{"text": "Rain", "notes": "Wet\n"}] * 2


async def test_title_and_icon_show_the_state(serve: Serve, visit: Visit) -> None:
    async def asks(_payload: Any, context: StreamContext) -> None:
        if await context.ask("Go on?") == "no":
            raise ValueError("stopped")

    page = await visit((await serve(asks)).port)
    await expect(page).to_have_title("tested")
    icons = [await icon(page)]
    for answer, end in (("yes", "Complete"), ("no", "Failed: the agent raised an error")):
        await run(page)
        await expect(page).to_have_title("Waiting for an answer · tested")
        icons.append(await icon(page))
        await page.get_by_role("textbox", name="Answer").fill(answer)
        await press(page, "Answer")
        await expect(page).to_have_title(f"{end} · tested")
        icons.append(await icon(page))
    unused, waiting, complete, again, failed = icons
    assert unused.endswith("/assets/icon.svg")
    assert again == waiting
    assert len({waiting, complete, failed}) == 3
    await page.go_back()
    await page.go_back()
    await expect(page).to_have_title("tested")
    assert await icon(page) == unused


async def icon(page: Page) -> str:
    """Return the URL of the window's icon, which can be drawn."""
    url = str(await page.locator("link[rel=icon]").evaluate("(link) => link.href"))
    await page.evaluate("(src) => Object.assign(new Image(), { src }).decode()", url)
    return unquote(url)
