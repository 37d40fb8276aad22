"""What axe-core finds on a page."""

from collections.abc import Iterable
from functools import cache

from playwright.async_api import Page, ViewportSize

from tests.interop import node

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
# The first frame has the styles of another color scheme, the second one what listeners of the scheme do.
_RUN = """async (rules) => {
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    return (await axe.run(document, { resultTypes: ["violations"], ...rules })).violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) =>
            `${id}: ${help}: ${target.join(" ")}: ${failureSummary}`));
}"""


async def assert_accessible(page: Page, except_rules: Iterable[str] = ()) -> None:
    """Fail if axe-core finds something serious or critical on a page, wide and light or narrow and dark.

    Args:
        page: The page, in the state that is to be tested. It keeps its size.
        except_rules: Rules of axe-core that others' elements on it break.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_axe())
    before = page.viewport_size
    rules = {rule: {"enabled": False} for rule in except_rules}
    found = []
    await page.set_viewport_size(DESKTOP)
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    found += await page.evaluate(_RUN, {"rules": rules})
    await page.set_viewport_size(PHONE)
    await page.emulate_media(color_scheme="dark")
    found += await page.evaluate(_RUN, {"rules": rules})
    assert not found, "\n".join(found)
    await page.emulate_media(color_scheme="null", reduced_motion="null")
    if before:
        await page.set_viewport_size(before)


@cache
def _axe() -> str:
    node.executable()  # installs the npm packages
    return (node.MODULES / "axe-core/axe.min.js").read_text()
