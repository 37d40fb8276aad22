"""Agents, and Dockfiles, that try to run code in the page of who looks at them."""

from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.browser.helpers import press
from tests.conftest import Serve

HTML = (
    "<script>window.__pwned = 1</script><img src=x onerror='window.__pwned = 2'>"
    "<svg onload='window.__pwned = 3'></svg>\"><a href='javascript:window.__pwned = 4'>x</a>{{7*7}}${7*7}"
)
SCHEMA = {
    "title": HTML,
    "description": HTML,
    "properties": {
        HTML: {"title": HTML, "description": HTML, "enum": [HTML], "default": HTML},
        "__proto__": {"type": "string", "default": "polluted"},
        "nested": {"type": "object", "properties": {HTML: {"type": "array", "items": {"type": "string"}}}},
    },
}


async def hostile(payload: Any, context: StreamContext) -> Any:
    await context.emit_token(HTML, HTML)
    await context.emit_progress(HTML, 0.5, HTML)
    await context.emit_step(HTML, 1, [HTML], [HTML])
    await context.checkpoint(HTML, {HTML: [HTML]})
    await context.emit(
        "html", **{HTML: HTML, "__proto__": HTML, "constructor": HTML, "said": HTML, "raw": HTML}
    )
    if payload.get("fail"):
        raise ValueError(HTML)
    return {HTML: HTML}


async def test_nothing_of_an_agent_runs(serve: Serve, visit: Visit) -> None:
    agent = {"name": "tested", "description": HTML, "handler": "tests.support:placeholder"}
    served = await serve(hostile, agent=agent, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await expect(page.locator("#description")).to_have_text(HTML)
    for label in ("Add nested",):
        await press(page, label)
    await press(page, "Stream")
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words")).to_have_text(HTML)
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    await expect(page.locator("#events pre")).to_have_count(2)
    for place in ("#fields", "#progress", "#steps", "#events", "#frames", "#outcome", "#curl"):
        await expect(page.locator(place)).to_contain_text("<img src=x onerror=")
    assert await page.locator("img, svg, a[href^=javascript], iframe, main script").count() == 0
    assert await page.evaluate("window.__pwned") is None
    assert await page.evaluate("({}).polluted") is None


async def test_nothing_of_an_error_runs(serve: Serve, visit: Visit) -> None:
    served = await serve(hostile)
    await served.start({"fail": True}, run_id="failed")
    await served.finished("failed")
    page = await visit(served.port, "#run=failed")
    await expect(page.locator("#status")).to_contain_text("Failed")
    await expect(page.locator("#outcome pre")).to_contain_text("<img src=x onerror=")
    assert await page.locator("img, svg").count() == 0
    assert await page.evaluate("window.__pwned") is None


async def test_an_address_that_names_no_run_asks_for_nothing(serve: Serve, visit: Visit) -> None:
    served = await serve()
    page = await visit(served.port, "#run=../../info?<img src=x onerror=alert(1)>")
    await expect(page.locator("#readiness")).to_have_text("Ready")
    await expect(page.locator("#status")).to_have_text("Nothing has been asked yet.")


async def test_the_page_asks_no_other_host(serve: Serve, visit: Visit) -> None:
    served = await serve(hostile)
    page = await visit(served.port)
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    await page.reload()
    await press(page, "Stream")
    await expect(page.locator("#status")).to_have_text("Complete")
    assert hosts == {f"127.0.0.1:{served.port}"}
