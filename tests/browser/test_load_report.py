"""The report of a load test on screens of any width, in light and dark."""

from typing import Literal

from playwright.async_api import Browser

from dockrion.load.html_report import html_report
from dockrion.load.measurements import Measurements, Point
from dockrion.load.options import Options
from dockrion.load.result import result
from tests.browser.accessible import assert_accessible

BACKGROUNDS: dict[Literal["light", "dark"], str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 31)"}
# Returns the labels that are cut off, or that touch another one.
UNREADABLE = """() => {
    const labels = [...document.querySelectorAll(".plot span")].map((label) => [label, label.getBoundingClientRect()]);
    const isCut = ({ left, right }) => left < 0 || right > document.documentElement.clientWidth;
    const touches = (one, other) => one !== other && one.left < other.right && other.left < one.right
        && one.top < other.bottom && other.top < one.bottom;
    return labels.filter(([, box]) => isCut(box) || labels.some(([, other]) => touches(box, other)))
        .map(([label]) => label.textContent);
}"""  # noqa: E501


async def test_report_has_whole_labels_and_fits_a_phone(browser: Browser) -> None:
    measurements = Measurements(seconds=9000, succeeded=1, events=7)
    measurements.whole_run.add_all([1e-6, 0.5, 1e6])
    measurements.emit_to_receive.add(0.001, 1_234_567)
    points = [Point(0.0, 0, 0, 0), Point(1.0, 1, 98_765_432, 100), Point(9000.0, 2, 98_765_440, 400)]
    options = Options(url="http://h" + "x" * 200)
    report = html_report(result(options, measurements, points, ended_early=False))
    page = await browser.new_page()
    await page.set_content(report)
    for scheme, back in BACKGROUNDS.items():
        await page.emulate_media(color_scheme=scheme)
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == back
        for width in (390, 1280):
            await page.set_viewport_size({"width": width, "height": 844})
            assert await page.evaluate(UNREADABLE) == [], width
            assert await page.evaluate(
                "document.documentElement.scrollWidth === document.documentElement.clientWidth"
            )
    await assert_accessible(page)
