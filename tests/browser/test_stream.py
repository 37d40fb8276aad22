"""How the page reads a stream: however its bytes arrive, and no faster than it draws."""

from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.browser.helpers import run
from tests.conftest import Serve
from tests.support import least

TOKEN = 'id: 1\nevent: token\ndata: {"content":"é😀"}\n\n'
STREAM = f": keep-alive\n\n{TOKEN}: one\n: two\nid: 2\nevent: end\ndata: 1\n\n: last\n"
READ = """async ({ stream, size }) => {
    const { batches } = await import("/assets/stream.js");
    const bytes = new TextEncoder().encode(stream);
    const body = new ReadableStream({ start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
    } });
    const frames = [];
    for await (const batch of batches(body, 10_000)) frames.push(...batch);
    return frames.map(({ id, event, data, raw }) => [id, event, data, raw]);
}"""
NEVER_DRAWN = """
    Object.defineProperty(document, "hidden", { get: () => true });
    window.requestAnimationFrame = () => 0;
"""


async def test_frames_are_the_same_however_the_bytes_arrive_and_read_in_linear_time(
    serve: Serve, visit: Visit
) -> None:
    served = await serve(_talks)
    page = await visit(served.port)
    events = {
        1000: [": keep-alive", [1, "token", {"content": "é😀"}], [2, "end", 1], ": last"],
        1: [": keep-alive", [1, "token", {"content": "é😀"}], ": one", ": two", [2, "end", 1], ": last"],
    }
    for size, expected in events.items():
        frames = await page.evaluate(READ, {"stream": STREAM, "size": size})
        assert [raw if data is None else [id_, event, data] for id_, event, data, raw in frames] == expected
    measure = f"""async (length) => {{
        const stream = "id: 1\\nevent: token\\ndata: \\"" + "x".repeat(length) + "\\"\\n\\n";
        const started = performance.now();
        await ({READ})({{ stream, size: 4096 }});
        return performance.now() - started;
    }}"""

    async def ratio() -> float:
        small, large = [float(await page.evaluate(measure, size)) for size in (1_000_000, 8_000_000)]
        return large / small

    assert await least(ratio, 32) < 32, "eight times as much takes 64 times as long in quadratic time"


async def test_page_in_the_background_keeps_up_without_animation_frames(serve: Serve, visit: Visit) -> None:
    served = await serve(_talks)
    page = await visit(served.port)
    await page.evaluate(NEVER_DRAWN)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    assert len((await page.locator("#words").text_content() or "").split()) == 5_000


async def _talks(_payload: Any, context: StreamContext) -> None:
    for number in range(5_000):
        await context.emit_token(f" {number}")
