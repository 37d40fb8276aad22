"""Screenshots of the page in six states, light and dark, for people to look at.

Run `python -m tests.browser.screenshots DIR`.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, async_playwright, expect

from dockrion.web.app import create_app
from tests.browser import showcase
from tests.browser.accessible import DESKTOP, PHONE
from tests.browser.chromium import address
from tests.browser.helpers import open_tab, run
from tests.support import dockfile

DESCRIPTION = {
    "researcher": "Answers questions about the climate from public records.",
    "talker": "Talks about the weather.",
    "unlucky": "Answers questions, while its search service is away.",
}


async def main(folder: Path) -> None:
    """Take all screenshots."""
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(address())
        for scheme in ("light", "dark"):
            for state in (empty, chat, running, finished, failed, phone):
                showcase.answered = asyncio.Event()
                async with state(browser, scheme) as page:
                    await page.screenshot(path=folder / f"{state.__name__}-{scheme}.png", full_page=True)
                showcase.answered.set()


@asynccontextmanager
async def empty(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "researcher") as page:
        yield page


@asynccontextmanager
async def chat(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "talker", showcase.CHAT) as page:
        for text in ("Does it rain in Lisbon in May?", "And in November?"):
            await page.get_by_label("Message").fill(text)
            await page.keyboard.press("Enter")
            await expect(page.locator("#transcript")).to_contain_text(f"You asked: {text}")
            await expect(page.locator("#status")).to_have_text("Complete")
        yield page


@asynccontextmanager
async def running(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "researcher") as page:
        await ask(page)
        await expect(page.locator("#words")).to_contain_text("1991 to 2020")
        yield page


@asynccontextmanager
async def finished(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "researcher") as page:
        await finish(page)
        yield page


@asynccontextmanager
async def failed(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "unlucky") as page:
        await ask(page)
        await expect(page.locator("#status")).to_contain_text("Failed")
        await open_tab(page, "Frames")
        yield page


@asynccontextmanager
async def phone(browser: Browser, scheme: str) -> AsyncIterator[Page]:
    async with opened(browser, scheme, "researcher", viewport=PHONE) as page:
        await finish(page)
        yield page


async def ask(page: Page) -> None:
    await page.get_by_role("textbox", name="question").fill(showcase.QUESTION)
    await run(page)


async def finish(page: Page) -> None:
    await ask(page)
    await expect(page.locator("#words")).to_contain_text("1991 to 2020")
    showcase.answered.set()
    await expect(page.locator("#status")).to_have_text("Complete")


@asynccontextmanager
async def opened(
    browser: Browser,
    scheme: Any,
    agent: str,
    schema: dict[str, Any] = showcase.INPUT,
    viewport: Any = DESKTOP,
) -> AsyncIterator[Page]:
    """Open the page of an agent of the showcase."""
    sections = {
        "agent": {
            "name": agent,
            "description": DESCRIPTION[agent],
            "handler": f"tests.browser.showcase:{agent}",
        },
        "io_schema": {"input": schema},
    }
    with tempfile.TemporaryDirectory() as folder:
        server = TestServer(create_app(dockfile(Path(folder), sections)))
        await server.start_server()
        context = await browser.new_context(color_scheme=scheme, viewport=viewport, reduced_motion="reduce")
        try:
            page = await context.new_page()
            await page.goto(str(server.make_url("/")))
            await expect(page.locator("#readiness")).to_have_text("Ready")
            yield page
        finally:
            showcase.answered.set()
            await context.close()
            await server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
