"""What axe-core finds in each state of the page, wide and light, or narrow and dark."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run
from tests.browser.test_accessibility import fills_the_page
from tests.browser.test_form import SCHEMA
from tests.conftest import Serve


async def test_axe_finds_what_cannot_be_read(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    await expect(page.locator("#agent")).to_have_text("tested")
    await assert_accessible(page)
    for condition in ("(prefers-color-scheme: dark) and (width < 400px)", "(width > 1200px)"):
        colour = f"@media {condition} {{ #agent {{ color: light-dark(#ccc, #333); }} }}"
        await page.evaluate("(rule) => document.styleSheets[0].insertRule(rule)", colour)
        with pytest.raises(AssertionError, match="color-contrast"):
            await assert_accessible(page)
        await page.evaluate("document.styleSheets[0].deleteRule(0)")


@pytest.mark.usefixtures("modules")
async def test_a_run_with_everything_in_it(serve: Serve, visit: Visit) -> None:
    served = await serve(fills_the_page, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for tab in ("Timeline", "Frames", "Usage", "Code"):
        await open_tab(page, tab)
        await assert_accessible(page)


async def test_form_with_its_menu_and_errors(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve(io_schema={"input": SCHEMA})).port)
    await press(page, "How to run: Stream")
    await assert_accessible(page)
    await page.keyboard.press("Escape")
    await page.get_by_label("words").fill("51")
    await run(page)
    await expect(page.get_by_label("words")).to_have_attribute("aria-invalid", "true")
    await assert_accessible(page)


async def test_run_at_work_and_failed(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page)
    agent.say("one")
    await expect(page.locator("#words")).to_contain_text("one")
    await assert_accessible(page)
    agent.end()
    served.use(_fails)
    await run(page)
    await expect(page.locator("#status")).to_contain_text("Failed")
    await assert_accessible(page)


async def _fails(_payload: Any, context: StreamContext) -> None:
    await context.emit_token("one")
    raise ValueError("no luck")


async def test_sign_in(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    page = await visit((await serve(auth={})).port)
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await page.get_by_label("API key or token").fill("wrong")
    await dialog.get_by_role("button", name="Sign in").click()
    await expect(dialog).to_contain_text("is wrong, or has expired")
    await assert_accessible(page)
