"""The page on small screens, with the keyboard alone, and with a screen reader."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dockrion import StreamContext
from dockrion.web import page as page_package
from tests.browser.agents import ScriptedAgent, converses, shows_everything
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run
from tests.browser.test_form import SCHEMA
from tests.conftest import Serve

STYLE = (Path(page_package.__file__).parent / "base.css").read_text()
WIDER_THAN_IT = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
CONTROLS = "button, input, textarea, select, summary, [role=region], progress, dialog"
UNNAMED = """(controls) => [...document.querySelectorAll(controls)]
    .filter((each) => each.checkVisibility())
    .filter((each) => !(each.labels?.[0]?.textContent || each.ariaLabel || each.textContent.trim()
        || document.getElementById(each.getAttribute("aria-labelledby"))?.textContent))
    .map((each) => each.outerHTML)"""
WRONG_IDS = """() => {
    const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
    const used = ["aria-describedby", "aria-labelledby"].flatMap((name) =>
        [...document.querySelectorAll(`[${name}]`)].flatMap((each) => each.getAttribute(name).split(" ")));
    const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
    return [...twice, ...used.filter((id) => !ids.includes(id))];
}"""


async def fills_the_page(payload: Any, context: StreamContext) -> dict[str, Any]:
    await converses(payload, context)
    return await shows_everything(payload, context)


async def focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.textContent || document.activeElement.id"))


async def test_run_fits_any_viewport(serve: Serve, visit: Visit) -> None:
    served = await serve(fills_the_page, io_schema={"input": SCHEMA})
    page = await visit(served.port, viewport={"width": 360, "height": 700})
    await page.get_by_label("topic").fill("x" * 100)
    await press(page, "Add author")
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#status")).to_be_in_viewport()
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for width in (320, 360, 800, 1600):
        await page.set_viewport_size({"width": width, "height": 700})
        assert not await page.evaluate(WIDER_THAN_IT), width


async def test_every_element_has_an_accessible_name(serve: Serve, visit: Visit) -> None:
    served = await serve(fills_the_page, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await page.get_by_label("topic").fill("Rain")
    for button in ("Add author", "Add tags", "Add to tags"):
        await press(page, button)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert await page.evaluate(UNNAMED, CONTROLS) == []
    assert await page.evaluate(WRONG_IDS) == []
    for landmark in ("body > header", "body > main", "body > footer"):
        await expect(page.locator(landmark)).to_have_count(1)
    for region in ("Request", "Recent runs", "Run"):
        await expect(page.get_by_role("region", name=region, exact=True).first).to_be_visible()
    levels = await page.locator("h1, h2, h3").evaluate_all("(all) => all.map((each) => each.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    assert await page.locator("html").get_attribute("lang") == "en"
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert await live.filter(has=page.locator("#words")).count() == 0, (
        "tokens must not be announced one by one"
    )


async def test_page_is_usable_with_the_keyboard_alone(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(
        agent, io_schema={"input": {"properties": {"topic": {"type": "string", "maxLength": 9}}}}
    )
    page = await visit(served.port)
    await expect(page.get_by_label("topic")).to_be_visible()
    walked = []
    for _ in range(9):
        await page.keyboard.press("Tab")
        walked.append(await focused(page))
    assert walked[0] == "Go to the run"
    assert walked[1:4] == ["API", "Schema", "Guide"]
    assert walked[4].startswith("field-")
    assert walked[5:] == ["Edit as JSON", "Run", "How to run: Stream", "Refresh"]
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    for _ in range(4):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.type("Rain")
    await page.keyboard.press("Enter")
    agent.say("one")
    await expect(page.locator("#words")).to_have_text("one")
    assert agent.payloads == [{"topic": "Rain"}]
    while await focused(page) != "Stop":
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_contain_text("Cancelled")
    await expect(page.locator("#run")).to_be_focused()
    seen = set()
    await page.locator("#skip").press("Enter")
    await expect(page.locator("#run")).to_be_focused()
    await expect(page.locator("#words")).to_have_text("one")
    while (at := await focused(page)) != "Go to the run":
        seen.add(at)
        await page.keyboard.press("Tab")
        assert len(seen) < 40, "the focus is caught"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrast_is_sufficient(scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", light if scheme == "light" else dark))
    for behind in ("paper", "card"):
        for text in ("ink", "soft", "mark", "good", "bad", "wait"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (scheme, text, behind)
    assert contrast(colours["on-mark"], colours["mark"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, "contrast ratio")."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
