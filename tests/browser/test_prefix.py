"""The page below a prefix, behind a proxy that removes it: everything on it is found there."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, run
from tests.browser.test_code import Recorder, execute, programs
from tests.conftest import Serve
from tests.prefix_proxy import PREFIX, prefix_proxy

TRUSTED: dict[str, Any] = {"expose": {"trusted_proxies": ["127.0.0.1"], "protocols": ["openai"]}}


async def requested(page: Page, path: str) -> list[str]:
    """Open a page anew, and return the paths that it requests, filled as it goes on."""
    paths: list[str] = []

    def note(request: Request) -> None:
        paths.append(urlsplit(request.url).path)

    page.on("request", note)
    await page.goto(path)
    return paths


async def test_page_works_below_a_prefix_without_the_slash_at_its_end(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    served = await serve(agent := Recorder(), **TRUSTED)
    async with prefix_proxy(served.port) as url:
        page = await visit(urlsplit(url).port or 0, "agents/writer")
        paths = await requested(page, url)
        await run(page, "start")
        await expect(page.locator("#conversation")).to_contain_text("Here it is.")
        await open_tab(page, "Code")
        shown = await programs(page)
        for language, program in shown.items():
            assert url in program
            expected = f'"events_url":"{PREFIX}/runs/' if language == "curl" else "Here it is."
            assert expected in await execute(tmp_path, language, program)
        await agent.received(4)
        await page.get_by_role("link", name="Guide").click()
        guide = page.get_by_role("dialog", name="Guide")
        await guide.get_by_role("link", name="Clients", exact=True).click()
        await expect(guide.get_by_role("heading", name="Clients", exact=True)).to_be_visible()
        await page.keyboard.press("Escape")
        await page.reload()
        await expect(page.locator("#conversation")).to_contain_text("Here it is.")
        await page.get_by_role("link", name="API").click()
        await expect(page.locator(".opblock").first).to_be_visible()
        await expect(page.locator(".servers")).to_contain_text(PREFIX)
    assert {path for path in paths if not path.startswith(PREFIX)} == set()
    assert len(paths) > 40


@pytest.mark.parametrize("path", ["agents/writer/", "agents/writer/docs"])
async def test_pages_work_where_the_service_knows_no_prefix(serve: Serve, visit: Visit, path: str) -> None:
    served = await serve(Recorder())
    async with prefix_proxy(served.port, says=False) as url:
        page = await visit(urlsplit(url).port or 0, path)
        if path.endswith("docs"):
            await expect(page.locator(".servers")).to_contain_text(url)
            return
        await run(page)
        await expect(page.locator("#conversation")).to_contain_text("Here it is.")
