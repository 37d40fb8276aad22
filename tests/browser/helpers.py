"""Actions on pages that the tests share."""

import asyncio
import os
import shlex
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, expect

from tests import curl
from tests.support import TIMEOUT_SECONDS


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


PATTERNS = {"stream": "Stream", "start": "Start and watch", "invoke": "Wait for the output"}


async def run(page: Page, pattern: str = "stream") -> None:
    """Send the request: stream the run, start it and watch, or wait for its output ("invoke")."""
    await choose(page, pattern)
    await press(page, "Run")


async def choose(page: Page, pattern: str) -> None:
    """Choose how to run the agent, where the page offers a choice."""
    await page.locator("#send").wait_for()
    menu = page.get_by_role("button", name="How to run")
    if await menu.is_visible() and PATTERNS[pattern] not in (await menu.text_content() or ""):
        await menu.click()
        await page.get_by_role("radio", name=PATTERNS[pattern], exact=True).click()


async def open_tab(page: Page, name: str) -> None:
    """Open one of the tabs beneath a run: Timeline, Frames, Usage, Code."""
    await page.get_by_role("tab", name=name, exact=True).click()


_NOTE_TEXTS = """(selector) => {
    const [element, texts] = [document.querySelector(selector), []];
    window.notedTexts = texts;
    new MutationObserver(() => texts.push(element.textContent)).observe(element, { childList: true });
}"""


@asynccontextmanager
async def shows_text(page: Page, selector: str, text: str) -> AsyncIterator[None]:
    """Wait, at the end of the block, until an element has had a text in it, be it for a moment."""
    await page.evaluate(_NOTE_TEXTS, selector)
    yield
    await page.wait_for_function("(text) => window.notedTexts.includes(text)", arg=text)


async def sequences(page: Page) -> list[int]:
    """Return the sequences in the list of raw frames, in order; of a long list, the visible ones."""
    await open_tab(page, "Frames")
    await expect(page.locator("#frames .sequence")).not_to_have_count(0)
    texts = await page.locator("#frames .sequence").all_text_contents()
    return [int(text) for text in texts if text.isdigit()]


async def shell(command: str, **variables: str) -> str:
    """Run a command shown by the page, unchanged, and return its output."""
    define_curl = f'curl() {{ command {shlex.join(curl.command())} "$@"; }}\n'
    environment = os.environ | variables
    process = await asyncio.create_subprocess_exec(
        "sh", "-euc", define_curl + command, env=environment, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        printed, complained = await process.communicate()
    assert process.returncode == 0, (command, printed, complained)
    return printed.decode()
