"""Fixtures for tests of the page in a real browser."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.chromium import address
from tests.support import TIMEOUT_SECONDS

expect.set_options(timeout=TIMEOUT_SECONDS * 1000)
Visit = Callable[..., Awaitable[Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(address())


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Open a page in a tab of its own profile: `await visit(port)`.

    A test fails when any of its pages has an error, a breach of the policy among them. A refusal by the
    service is none: `Failed to load resource` is the browser's own remark.
    """
    troubles: list[str] = []

    async def open_page(port: int, path: str = "", **options: Any) -> Page:
        context = await browser.new_context(**options)
        context.set_default_timeout(TIMEOUT_SECONDS * 1000)
        context.on("page", lambda page: page.on("pageerror", lambda error: troubles.append(str(error))))
        context.on(
            "console",
            lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None,
        )
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{port}/{path}")
        return page

    yield open_page
    for context in browser.contexts:
        await context.close()
    assert not [trouble for trouble in troubles if not trouble.startswith("Failed to load resource")]
