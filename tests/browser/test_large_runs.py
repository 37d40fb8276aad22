"""Runs with more events than anyone reads: the page stays quick, and its memory bounded."""

from typing import Any

from playwright.async_api import Page, expect

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, run
from tests.conftest import Serve
from tests.support import least

EVENTS = 100_000
MIB = 1024 * 1024
CLICK_TIMES = """
    window.clicks = [];
    document.addEventListener("click", ({ timeStamp }) => requestAnimationFrame(() => setTimeout(() => {
        window.clicks.push(performance.now() - timeStamp);
    })), true);
"""
LIMITS = {"redis": {"max_events_per_run": EVENTS}}


async def heap(page: Page) -> float:
    """Return the size of the page's JavaScript heap in MiB, without garbage."""
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    await session.send("HeapProfiler.collectGarbage")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize") / MIB


async def fastest_click(page: Page) -> float:
    """Return the milliseconds from a click on a tab to the next painted frame: the best of a few."""

    async def clicks() -> float:
        await page.evaluate("window.clicks.length = 0")
        for tab in ("Frames", "Usage", "Timeline", "Frames"):
            await open_tab(page, tab)
        await page.wait_for_function("() => window.clicks.length === 4")
        return float(await page.evaluate("Math.min(...window.clicks)"))

    return await least(clicks, 200)


async def test_run_of_100_000_events_is_shown_quickly(serve: Serve, visit: Visit) -> None:
    served = await serve(_talks, streaming=LIMITS)
    await served.start(run_id="long")
    page = await visit(served.port)
    await page.evaluate(CLICK_TIMES)
    empty = await heap(page)
    await page.get_by_role("button", name="long").click()
    await expect(page.locator("#status")).to_have_text("Running")
    assert await fastest_click(page) < 200
    await expect(page.locator("#status")).to_have_text("Complete", timeout=180_000)
    assert await fastest_click(page) < 200
    await expect(page.locator("#frames .count")).to_have_text("100,000 frames")
    await page.get_by_label("Search the frames").fill('" 9999')
    await expect(page.locator("#frames .count")).to_have_text("9 of 100,000 frames")
    assert (await page.locator("#words").inner_text()).split()[-1] == str(EVENTS - 3)
    drawn = await page.evaluate("document.querySelectorAll('#words *').length")
    assert drawn < 500, "the text must be drawn once per animation frame, not once per token"
    assert await heap(page) - empty < 48


async def _talks(_payload: Any, context: StreamContext) -> None:
    for number in range(EVENTS - 2):
        await context.emit_token(f" {number}")


async def test_frames_over_the_memory_limit_are_loaded_again(serve: Serve, visit: Visit) -> None:
    served = await serve(_keeps_a_state)
    page = await visit(served.port)
    empty = await heap(page)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete", timeout=180_000)
    await open_tab(page, "Frames")
    shown = page.locator("#frames .pages")
    rows = page.locator("#frames .row")
    await expect(shown).to_contain_text("to 1,502 of 1,502; the others were dropped to save memory.")
    first = int((await shown.inner_text()).split()[1].replace(",", ""))
    assert 100 < first < 1_000
    assert await heap(page) - empty < 64
    await page.get_by_role("button", name="Show earlier events").click()
    await expect(shown).to_contain_text("Events 1 to ")
    await expect(rows.last).to_contain_text("checkpoint")
    await page.evaluate("document.querySelector('#frames .scroll').scrollTop = 0")
    await expect(rows.first).to_contain_text("started")
    page_end = int((await shown.inner_text()).split()[3].replace(",", ""))
    later = page.get_by_role("button", name="Show later events")
    await later.click()
    await expect(rows.first).to_contain_text(f"{page_end + 1}checkpoint")
    async with page.expect_download() as info:
        await page.get_by_role("button", name="Download all").click()
    with (await (await info.value).path()).open() as file:
        assert sum(1 for _ in file) == 1_502
    await later.click()
    await expect(later).to_be_hidden()
    await expect(shown).to_contain_text("to 1,502 of 1,502")
    assert await heap(page) - empty < 64


async def _keeps_a_state(_payload: Any, context: StreamContext) -> None:
    state = {"lines": ["x" * 490] * 100}
    for number in range(1_500):
        await context.checkpoint(f"state {number}", state)
