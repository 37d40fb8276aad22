"""What axe-core finds on a page."""

from functools import cache

from playwright.async_api import Page

from tests.interop import node

_RUN = """async (rules) => (await axe.run(document, { resultTypes: ["violations"], ...rules })).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) =>
        `${id}: ${help}: ${target.join(" ")}: ${failureSummary}`))"""


async def assert_accessible(page: Page) -> None:
    """Fail if axe-core finds something serious or critical on a page as it is shown, in light and dark.

    Args:
        page: The page, in the state that is to be tested.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_axe())
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    found = await page.evaluate(_RUN, {})
    await page.emulate_media(color_scheme="dark")
    found += await page.evaluate(_RUN, {"runOnly": ["color-contrast"]})
    assert not found, "\n".join(found)
    await page.emulate_media(color_scheme="null", reduced_motion="null")


@cache
def _axe() -> str:
    node.executable()  # installs the npm packages
    return (node.MODULES / "axe-core/axe.min.js").read_text()
