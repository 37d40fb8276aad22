"""What axe-core finds in each state of the page, in light and dark."""

import pytest
from playwright.async_api import expect

from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, run
from tests.browser.test_accessibility import fills_the_page
from tests.browser.test_form import SCHEMA
from tests.conftest import Serve


async def test_axe_finds_what_cannot_be_read(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    await expect(page.locator("#agent")).to_have_text("tested")
    await assert_accessible(page)
    await page.evaluate("document.getElementById('agent').style.color = 'light-dark(#111, #333)'")
    with pytest.raises(AssertionError, match="color-contrast"):
        await assert_accessible(page)


async def test_a_run_with_everything_in_it(serve: Serve, visit: Visit) -> None:
    served = await serve(fills_the_page, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await expect(page.get_by_label("topic")).to_be_visible()
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    for tab in ("Timeline", "Frames", "Usage", "Code"):
        await open_tab(page, tab)
        await assert_accessible(page)
