"""The Frames tab: a list of which only the visible rows exist."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run
from tests.conftest import Serve
from tests.support import least

MIB = 1024 * 1024
LONG_TASKS = """
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
    }).observe({ type: "longtask" });
"""
TOP = "document.querySelector('#frames .scroll').scrollTop"


def rows(page: Page) -> Locator:
    return page.locator("#frames .row")


def chip(page: Page, event: str) -> Locator:
    return page.get_by_role("group", name="Types of frames").get_by_role("button", name=event)


async def at_top(page: Page) -> str:
    """Return the sequence of the first row of which something is visible."""
    return str(
        await page.evaluate("""() => {
            const { top } = document.querySelector("#frames .scroll").getBoundingClientRect();
            const rows = [...document.querySelectorAll("#frames .row")];
            return rows.find((row) => row.getBoundingClientRect().bottom > top + 1).firstChild.textContent;
        }""")
    )


async def says_much(_payload: Any, context: StreamContext) -> None:
    for number in range(3_000):
        await context.emit_token(f" w{number}")
    await context.emit("mood", happy=True)
    await context.emit("mood", happy=False)


async def opened(serve: Serve, visit: Visit, agent: Any, **options: Any) -> Page:
    """Run an agent, and show the frames of its run."""
    served = await serve(agent)
    page = await visit(served.port, **options)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await open_tab(page, "Frames")
    await expect(rows(page)).not_to_have_count(0)
    await page.locator("#frames .scroll").scroll_into_view_if_needed()
    return page


async def test_only_visible_rows_of_a_long_list_exist_and_the_keyboard_walks_them(
    serve: Serve, visit: Visit
) -> None:
    page = await opened(serve, visit, says_much)
    await expect(page.locator("#frames .count")).to_have_text("3,004 frames")
    await expect(rows(page).last).to_contain_text("complete")
    assert 10 < await rows(page).count() < 80
    one_line = await page.locator("#frames .sequence").last.evaluate(
        "(each) => each.scrollWidth <= each.clientWidth"
    )
    assert one_line, "four digits must not wrap"
    await page.evaluate(f"{TOP} = 0")
    await expect(rows(page).first).to_contain_text("started")
    assert 10 < await rows(page).count() < 80
    item = page.get_by_role("listitem").filter(has_text='" w7"')
    await expect(item).to_have_attribute("aria-posinset", "9")
    await expect(item).to_have_attribute("aria-setsize", "3004")

    await rows(page).last.focus()
    for key, expected in (
        ("Home", "1started"),
        ("ArrowDown", "2token"),
        ("ArrowUp", "1started"),
        ("End", "3004complete"),
        ("ArrowDown", "3004complete"),
    ):
        await page.keyboard.press(key)
        await expect(page.locator("#frames .row:focus")).to_contain_text(expected)
        await expect(page.locator("#frames .row:focus")).to_be_in_viewport()
    await page.keyboard.press("PageUp")
    paged = int(await page.locator("#frames .row:focus .sequence").inner_text())
    assert 2950 < paged < 2995
    await page.keyboard.press("Enter")
    await expect(page.locator("#frames .row:focus")).to_have_attribute("aria-expanded", "true")
    await page.evaluate(f"{TOP} = 0")
    await expect(rows(page).first).to_contain_text("started")
    await expect(page.locator("#frames .row:focus")).to_contain_text(str(paged))
    assert await page.locator("#frames .row[tabindex='0']").count() == 1


async def test_frames_are_searched_and_filtered_by_type_and_expanded(serve: Serve, visit: Visit) -> None:
    page = await opened(serve, visit, says_much)
    await expand_and_collapse(page)
    count = page.locator("#frames .count")
    await expect(page.get_by_role("group", name="Types of frames")).to_have_text(
        "started1token3,000custom:mood2complete1"
    )
    await page.get_by_label("Search the frames").fill('CONTENT":" W12')
    await expect(count).to_have_text("111 of 3,004 frames")
    await expect(rows(page).first).to_contain_text('{"content":" w12"')
    await page.get_by_label("Search the frames").fill("mood")
    await expect(count).to_have_text("2 of 3,004 frames")
    await chip(page, "token").click()
    await expect(count).to_have_text("0 of 3,004 frames")
    await expect(page.get_by_text("No frame matches.")).to_be_visible()
    await chip(page, "custom:mood").click()
    await expect(rows(page)).to_have_count(2)
    await page.get_by_label("Search the frames").fill("")
    await expect(count).to_have_text("3,002 of 3,004 frames")
    await chip(page, "token").click()
    await expect(rows(page)).to_have_count(2)
    await expect(chip(page, "token")).to_have_attribute("aria-pressed", "false")


async def test_frames_are_downloaded_and_copied_even_where_there_is_no_clipboard(
    serve: Serve, visit: Visit
) -> None:
    page = await opened(serve, visit, says_much, permissions=["clipboard-read", "clipboard-write"])
    await rows(page).last.click()
    await page.locator("#frames").get_by_role("button", name="Copy", exact=True).click()
    frame = await page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"id: 3004\nevent: complete\ndata: \{.*\}", frame)
    assert (await download(page, "Download all"))[-1] == json.loads(frame.partition("data: ")[2])
    await chip(page, "custom:mood").click()
    assert [event["happy"] for event in await download(page, "Download matching")] == [True, False]
    await press(page, "Copy matching")
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert re.findall(r"^id: (\d+)$", copied, re.MULTILINE) == ["3002", "3003"]
    await page.evaluate("window.clipboard = navigator.clipboard")
    await page.evaluate("window.clipboard.writeText('')")
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { get: () => undefined })")
    await expect(page.get_by_role("button", name="Copy matching")).to_be_visible()
    await press(page, "Copy matching")
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "custom:mood" in await page.evaluate("window.clipboard.readText()")


async def download(page: Page, button: str) -> list[Any]:
    async with page.expect_download() as info:
        await press(page, button)
    file = await info.value
    assert file.suggested_filename.endswith(".ndjson")
    return [json.loads(line) for line in Path(await file.path()).read_text().splitlines()]


async def test_what_is_shown_stays_while_frames_arrive(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page)
    agent.say(*["x"] * 300)
    await open_tab(page, "Frames")
    await expect(rows(page).last).to_contain_text("301token")
    await page.locator("#frames .scroll").scroll_into_view_if_needed()
    agent.say("y")
    await expect(rows(page).last).to_contain_text("302token")
    await expect(rows(page).last).to_be_in_viewport()
    await page.evaluate(f"{TOP} = 1000")
    await expect(rows(page).first).to_have_text(re.compile("^2.token"))
    shown = await at_top(page)
    agent.say(*["z"] * 100)
    await expect(page.locator("#frames .count")).to_have_text("402 frames")
    assert await at_top(page) == shown
    await rows(page).nth(20).click()
    await expect(page.locator("#frames pre")).to_be_visible()
    shown = await at_top(page)
    agent.say(*["z"] * 100)
    await expect(page.locator("#frames .count")).to_have_text("502 frames")
    assert await at_top(page) == shown
    await page.evaluate(f"{TOP} = 1e9")
    await expect(rows(page).last).to_contain_text("502token")
    agent.say("end")
    await expect(rows(page).last).to_contain_text("503token")


async def expand_and_collapse(page: Page) -> None:
    await page.evaluate(f"{TOP} = 20000")
    await expect(rows(page).first).to_have_text(re.compile("^6[78]."))
    shown = await at_top(page)
    await press(page, "Expand all")
    await expect(page.locator("#frames pre").first).to_be_visible()
    assert await page.locator("#frames pre").count() < 20
    assert await at_top(page) == shown
    for distance in (-3_000, 5_000, -1_000):  # rows are measured when they are first drawn
        await page.evaluate(f"{TOP} += {distance}")
        await expect(page.locator("#frames pre").first).to_be_visible()
    overlapping = await page.evaluate("""() => {
        const boxes = [...document.querySelectorAll("#frames li")].map((row) => row.getBoundingClientRect());
        return boxes.slice(1).filter((box, index) => Math.abs(box.top - boxes[index].bottom) > 1).length;
    }""")
    assert overlapping == 0
    await assert_accessible(page)
    await press(page, "Collapse all")
    await expect(page.locator("#frames pre")).to_have_count(0)


async def test_big_checkpoint_unfolds_whole_with_its_name_in_sight(serve: Serve, visit: Visit) -> None:
    state = {
        "lines": ["é\U0001f600" + "x" * 60] * 20_000,
        "deep": {},
        "text": "y" * MIB,
        "number": 12345678901234567890,
    }

    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.checkpoint("the whole state", state)

    page = await opened(serve, visit, agent)
    row, text = rows(page).filter(has_text="the whole state"), page.locator("#frames pre")
    expected = json.dumps(state, indent=2, ensure_ascii=False).count("\n") + 11
    await page.evaluate(LONG_TASKS)

    async def unfold() -> float:
        if await text.count():
            await row.click()
            await expect(text).to_have_count(0)
        await page.evaluate("window.longest = 0")
        await row.click()
        await page.wait_for_function(
            "(lines) => document.querySelector('#frames pre').textContent.split('\\n').length === lines",
            arg=expected,
        )
        return float(await page.evaluate("window.longest"))

    assert await least(unfold, 200) < 200
    shown = (await text.text_content() or "").partition("data: ")[2]
    assert json.loads(shown)["data"] == state
    await text.evaluate("(each) => (each.scrollTop = each.scrollHeight)")
    await expect(page.get_by_role("button", name="checkpoint the whole state")).to_be_in_viewport()
    box = page.locator("#frames .scroll")
    assert await box.evaluate("(each) => each.scrollWidth <= each.clientWidth")


async def test_hostile_frames_stay_in_their_boxes(serve: Serve, visit: Visit) -> None:
    million = "\U0001f600" * 500_000 + "x" * 500_000

    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit("line", text=million)
        await context.emit("a" * 300, text="\u202eright to left\u0085\ufeff\u2067")
        await context.checkpoint("n\u202e" * 1_000, {"\u202e": "\u0301" * 5_000})
        for number in range(100):
            await context.emit(f"type{number}", number=number)

    page = await opened(serve, visit, agent, viewport={"width": 390, "height": 800})
    await page.evaluate(LONG_TASKS)

    async def unfold_and_fold() -> float:
        await page.evaluate("window.longest = 0")
        await press(page, "Expand all")
        await page.evaluate(f"{TOP} = 0")
        await expect(rows(page).filter(has_text="custom:line")).to_be_visible()
        shown = page.locator("#frames pre").nth(1)
        await expect(shown).to_contain_text("}")
        assert million in (await shown.text_content() or "")
        await press(page, "Collapse all")
        await expect(rows(page).filter(has_text="aaaa")).to_contain_text(
            r'{"text":"\u202eright to left\u0085\ufeff\u2067"}'
        )
        return float(await page.evaluate("window.longest"))

    assert await least(unfold_and_fold, 200) < 200
    heights = await rows(page).evaluate_all("(rows) => new Set(rows.map((row) => row.offsetHeight)).size")
    assert heights == 1
    assert await page.get_by_role("group", name="Types of frames").get_by_role("button").count() <= 41
    wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(wider)
