"""Where things are on the page: columns, tabs, links, and what it says before there is a run."""

import json

import pytest
from playwright.async_api import Page, expect

from tests.browser.accessible import PHONE, assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run
from tests.conftest import Serve

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def echoes(payload: object) -> object:
    return payload


async def order(page: Page) -> list[str]:
    """Return the page's headings from top to bottom, which is also their order for a screen reader."""
    tops = await page.locator("main h2:visible").evaluate_all(
        "(all) => all.map((each) => [each.textContent, each.getBoundingClientRect().top])"
    )
    assert tops == sorted(tops, key=lambda heading: heading[1])
    return [name for name, _ in tops]


async def test_run_comes_first_on_a_phone_once_there_is_one(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes, io_schema={"input": SCHEMA})
    page = await visit(served.port, viewport=PHONE)
    await expect(page.locator("#recent")).to_be_visible()
    assert await order(page) == ["Request", "Recent runs", "Run"]
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    assert await order(page) == ["Run", "Request", "Recent runs"]
    await expect(page.locator("#status")).to_be_in_viewport()
    await page.go_back()
    await expect(page.locator("#status")).to_have_text("No run yet")
    assert await order(page) == ["Request", "Recent runs", "Run"]


async def test_page_teaches_before_there_is_a_run_and_has_tabs_then(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve(echoes)).port)
    await expect(page.locator("#empty")).to_contain_text("press Run, or Ctrl Enter")
    await expect(page.locator("#no-schema")).to_contain_text("This agent declares no input")
    await expect(page.locator("#no-runs")).to_be_visible()
    await expect(page.get_by_role("tab")).to_have_count(0)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#empty")).to_be_hidden()
    await expect(page.locator("#no-runs")).to_be_hidden()
    await open_tab(page, "Usage")
    for key, name in (
        ("ArrowRight", "Code"),
        ("ArrowRight", "Timeline"),
        ("End", "Code"),
        ("Home", "Timeline"),
    ):
        await page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        await expect(tab).to_be_focused()
        await expect(tab).to_have_attribute("aria-selected", "true")
        await expect(page.locator("#details > [role=tabpanel]:visible")).to_have_accessible_name(name)


async def test_header_links_to_what_describes_the_service(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await page.get_by_role("link", name="Schema").click()
    await expect(page.get_by_role("region", name="Input")).to_have_text(json.dumps(SCHEMA, indent=2))
    await expect(page.get_by_role("region", name="Output")).to_have_text("Not declared.")
    await assert_accessible(page)
    await press(page, "Close")
    async with page.expect_navigation(url="**/docs"):
        await page.get_by_role("link", name="API").click()


async def test_protocols_are_named_with_their_addresses(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve(echoes)).port)
    await expect(page.locator("#version")).not_to_be_empty()
    await expect(page.locator("#protocols")).to_be_hidden()
    served = await serve(echoes, expose={"protocols": ["openai", "ag-ui", "vercel-ai", "mcp", "a2a"]})
    page = await visit(served.port)
    here = f"http://127.0.0.1:{served.port}"
    await expect(page.locator("#protocols")).to_have_text(
        f"Also for clients of OpenAI at {here}/v1, AG-UI at {here}/ag-ui, Vercel AI SDK at {here}/api/chat, "
        f"MCP at {here}/mcp, A2A at {here}/a2a."
    )
    await assert_accessible(page)
    guide = page.get_by_role("dialog", name="Guide")
    chapters = {
        "OpenAI": "Open WebUI",
        "AG-UI": "AG-UI",
        "Vercel AI SDK": "Vercel AI SDK",
        "MCP": "Claude Desktop",
        "A2A": "A2A network",
    }
    for link, chapter in chapters.items():
        await page.locator("#protocols").get_by_role("link", name=link).click()
        await expect(guide.locator("#guide-text").get_by_role("heading").first).to_contain_text(chapter)
        await press(page, "Close")


@pytest.mark.usefixtures("modules")
async def test_guide_is_read_on_the_page_without_another_host(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes)
    page = await visit(served.port)
    await page.get_by_role("link", name="Guide").click()
    guide = page.get_by_role("dialog", name="Guide")
    await expect(guide.get_by_role("heading", name="The Dockrion guide")).to_be_visible()
    await guide.get_by_role("link", name="Clients", exact=True).click()
    await expect(guide.get_by_role("heading", name="Clients", exact=True)).to_be_visible()
    await expect(guide.get_by_role("heading", name="From Python")).to_have_count(1)
    await guide.get_by_role("link", name="expose.cors").click()
    await expect(guide.get_by_role("heading", name="Network exposure")).to_be_in_viewport()
    await assert_accessible(page)
    await press(page, "Close")
    await page.goto(page.url + "#guide=streaming.md#resuming")
    await page.reload()
    await expect(guide.get_by_role("heading", name="Resuming", exact=True)).to_be_in_viewport()
