"""Agents and Dockfiles that try to run code in the page."""

from typing import Any

from playwright.async_api import Page, expect

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run
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
    await context.emit_message(HTML, HTML, name=HTML, source=HTML)
    await context.emit_message([{"type": HTML, HTML: HTML}])
    await context.emit_reasoning(HTML, source=HTML)
    call = await context.emit_tool_call(HTML, {HTML: HTML, "__proto__": HTML}, source=HTML)
    await context.emit_tool_result(call, {HTML: HTML})
    await context.emit_usage(HTML, 1, 2)
    await context.emit_usage("__proto__", 1, 2)
    if payload.get("fail"):
        raise ValueError(HTML)
    return {HTML: HTML}


async def test_content_of_an_agent_is_never_executed(serve: Serve, visit: Visit) -> None:
    agent = {"name": "tested", "description": HTML, "handler": "tests.support:placeholder"}
    served = await serve(hostile, agent=agent, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    await page.reload()
    await expect(page.locator("#description")).to_have_text(HTML)
    await press(page, "Add nested")
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words .block").first).to_have_text(HTML.replace("*", ""))  # emphasis
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    await open_tab(page, "Frames")
    await press(page, "Expand all")
    for place in (
        "#fields",
        "#progress",
        "#question",
        "#words",
        "#waterfall",
        "#usage",
        "#frames",
        "#outcome",
        "#curl",
    ):
        await expect(page.locator(place)).to_contain_text("<img src=x onerror=")
    await nothing_ran(page)
    assert await page.evaluate("({}).polluted") is None
    assert hosts == {f"127.0.0.1:{served.port}"}


async def test_content_of_errors_and_urls_is_never_executed(serve: Serve, visit: Visit) -> None:
    served = await serve(hostile)
    await served.start({"fail": True}, run_id="failed")
    await served.finished("failed")
    page = await visit(served.port, "#run=failed")
    await expect(page.locator("#status")).to_contain_text("Failed")
    await expect(page.locator("#outcome")).to_contain_text("<img src=x onerror=")
    await nothing_ran(page)
    await page.goto(
        f"http://127.0.0.1:{served.port}/#run=../../info?<img src=x onerror='window.__pwned = 5'>"
    )
    await expect(page.locator("#status")).to_have_text("No run yet")
    await nothing_ran(page)


async def nothing_ran(page: Page) -> None:
    assert await page.locator("img, svg, iframe, a[href^=javascript], main script").count() == 0
    assert await page.evaluate("window.__pwned") is None
