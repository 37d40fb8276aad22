"""The page of a service that is restarted when a file is saved."""

from pathlib import Path

from playwright.async_api import expect

from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import shows_text
from tests.e2e.reloading import loop, returns

DOCKFILE = """
version: "1.0"
agent: {name: weather, description: Knows the weather, handler: "agent:handle"}
io_schema: {input: {properties: {city: {type: string}}}}
expose: {host: 127.0.0.1}
"""


async def test_open_page_says_what_is_broken_and_that_it_was_reloaded(visit: Visit, tmp_path: Path) -> None:
    async with loop(tmp_path, returns("one")) as running:
        await running.until_answer("one")
        page = await visit(int(running.shown.url.rpartition(":")[2]))
        readiness, broken = page.locator("#readiness"), page.locator("#broken")
        await expect(readiness).to_have_text("Ready")
        await expect(broken).to_be_hidden()
        (tmp_path / "agent.py").write_text("def handle(\n")
        await expect(broken).to_contain_text("failed at agent.py:1: SyntaxError: '(' was never closed")
        await expect(readiness).to_have_text("Not ready")
        await assert_accessible(page)
        async with shows_text(page, "#readiness", "Reloaded"):
            (tmp_path / "agent.py").write_text(returns("two"))
        await expect(broken).to_be_hidden()
        (tmp_path / "Dockfile.yaml").write_text(DOCKFILE)
        await expect(page.get_by_label("city")).to_be_visible()
        await expect(page.locator("#agent")).to_have_text("weather")
        await expect(page.locator("#description")).to_have_text("Knows the weather")
