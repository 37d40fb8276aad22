"""The API reference at `/docs`, in light and dark, on small screens, and behind a key."""

import re
from pathlib import Path

from playwright.async_api import Page, expect

from dockrion.web import docs
from dockrion.web import page as page_package
from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.test_access import KEY
from tests.conftest import Serve

# What axe-core finds in how Swagger UI builds its elements, of which this service has the colours only.
_STRUCTURE = ("nested-interactive", "select-name")


async def background(page: Page) -> str:
    return str(await page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


async def test_reference_follows_the_color_scheme_and_fits_a_phone(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port, "docs", color_scheme="dark")
    run = page.locator("#operations-runs-getRun, [id^=operations-runs]").nth(2)
    await run.locator(".opblock-summary-control").click()
    await expect(run.locator(".responses-table").first).to_be_visible()
    assert await background(page) == "rgb(15, 18, 22)"
    await assert_accessible(page, except_rules=_STRUCTURE)
    await page.emulate_media(color_scheme="light")
    await expect(page.locator("html")).not_to_have_class(re.compile("dark"))
    assert await background(page) == "rgb(246, 246, 243)"
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate(
        "document.documentElement.scrollWidth === document.documentElement.clientWidth"
    )


async def test_key_page_signs_in_with_the_keyboard(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(auth={"mode": "api_key"})
    page = await visit(served.port, "docs")
    await expect(page.get_by_role("form", name="Sign in")).to_be_visible()
    await expect(page.get_by_label("API key or token")).to_be_focused()
    await assert_accessible(page)
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("This key or token is wrong, or has expired.")
    await page.get_by_label("API key or token").fill(f" {KEY} ")
    await page.get_by_role("button", name="Sign in").press("Enter")
    await expect(page.get_by_role("form", name="Sign in")).to_be_hidden()
    await expect(page.locator(".opblock").first).to_be_visible()
    assert KEY not in page.url + await page.evaluate("JSON.stringify([localStorage, sessionStorage])")


def test_reference_has_the_colours_of_the_page() -> None:
    colour = re.compile(r"--[\w-]+: #\w+;")
    there = (Path(page_package.__file__).parent / "base.css").read_text()
    here = (Path(docs.__file__).parent / "page.css").read_text()
    shared, dark = (text.split("prefers-color-scheme: dark") for text in (there, here))
    for part in (0, 1):
        assert set(colour.findall(dark[part])) <= set(colour.findall(shared[part]))
