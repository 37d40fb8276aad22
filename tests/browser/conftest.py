"""Fixtures for tests of the page in a real browser."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.bundle import bundled
from tests.browser.chromium import address
from tests.conftest import Serve, nothing_left, serving
from tests.support import TIMEOUT_SECONDS

expect.set_options(timeout=TIMEOUT_SECONDS * 1000)
Visit = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of the page in one event loop: the connection to the browser belongs to a loop."""
    for item in items:
        if item.path.parent == Path(__file__).parent and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


in_one_loop = partial(pytest_asyncio.fixture, loop_scope="session")


@in_one_loop(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Connect to the browser once: each start of what drives it costs half a second."""
    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(address())


@in_one_loop(autouse=True)
async def no_tasks_or_threads_left(chromium: Browser) -> AsyncIterator[None]:
    async with nothing_left():
        yield
    assert chromium.is_connected()


@pytest.fixture(autouse=True)
def page_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """Serve the page's modules as one file, unless the test asks for them."""
    with nullcontext() if "modules" in request.fixturenames else bundled():
        yield


@pytest.fixture
def modules() -> None:
    """Serve the page's modules as users get them."""


@in_one_loop
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    async with serving(tmp_path) as start:
        yield start


@in_one_loop
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """Return the browser, and close what the test opens in it."""
    before = chromium.contexts
    yield chromium
    for context in chromium.contexts:
        if context not in before:
            await context.close()


@in_one_loop
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
    assert not [trouble for trouble in troubles if not trouble.startswith("Failed to load resource")]
