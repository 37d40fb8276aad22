"""The numbers in the heading of a run, and its usage by model."""

import asyncio
import re
from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, run
from tests.conftest import Serve

TALLY = """async (frames) => {
    const { Tally } = await import("./assets/timeline/tally.js");
    const { texts } = await import("./assets/timeline/totals.js");
    const tally = new Tally();
    tally.createdAt = Date.parse("2026-01-01T00:00:00Z");
    tally.add(frames.map(([event, at, data], index) => ({
        id: index + 1, event, receivedAt: tally.createdAt + at + 20,
        data: { timestamp: new Date(tally.createdAt + at).toISOString(), ...data },
    })));
    return [texts(tally), texts(tally, { from: tally.createdAt + 100 })];
}"""
STARTED = ("started", 500, {"agent_name": "guide"})
TOKENS = [("token", 1000 + 100 * number, {"content": "word "}) for number in range(11)]
LATE = [("token", 9000, {"content": "later"}), ("token", 10_000, {"content": "."})]
USAGE = {
    "small": {"input_tokens": 1200, "output_tokens": 80, "total_tokens": 1280},
    "large": {"output_tokens": 20},
}


def complete(metadata: dict[str, Any]) -> tuple[str, float, dict[str, Any]]:
    return ("complete", 10_500, {"output": None, "metadata": metadata})


async def test_totals_are_counted_from_the_events(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    events = [STARTED, *TOKENS, *LATE]
    from_creation, from_click = await page.evaluate(TALLY, [*events, complete({"usage": USAGE})])
    assert from_creation == {
        "time": "10.0 s",
        "firstToken": "1.00 s",
        "speed": "50 tokens/s",  # 100 in the two seconds in which it writes
        "tokens": "1,200 in, 100 out",
    }
    assert from_click["firstToken"] == "920 ms"
    without_usage, _ = await page.evaluate(TALLY, [*events, complete({})])
    assert without_usage == from_creation | {"speed": "6.5 chunks/s", "tokens": ""}
    silent, _ = await page.evaluate(TALLY, [STARTED, complete({})])
    assert silent == {"time": "10.0 s", "firstToken": "", "speed": "", "tokens": ""}


async def test_usage_is_listed_and_the_first_token_timed_from_the_click_or_in_a_replay_the_creation(
    serve: Serve, visit: Visit
) -> None:
    served = await serve(_writes, streaming={"max_concurrent_runs": 1})
    page = await visit(served.port)
    fact = page.locator("#first-token")
    for pattern in ("stream", "start"):
        await run(page, pattern)
        await expect(page.locator("#status")).to_have_text("Complete")
        await expect(fact).to_have_text(re.compile(r"^\d[\d.]* m?s$"))
        await expect(fact.locator("xpath=..")).to_have_attribute("title", re.compile("From the click"))
    await expect(page.locator("#speed")).to_have_text(re.compile(r"^\d[\d,.]* tokens/s$"))
    await expect(page.locator("#tokens")).to_have_text("1,001 in, 5 out")
    await open_tab(page, "Usage")
    await expect(page.locator("#usage tbody tr")).to_have_text(["large1,00021,002", "small134"])
    await expect(page.locator("#usage tfoot tr")).to_have_text("All models1,00151,006")
    await expect(page.locator("#latency")).to_have_text(re.compile(r"^\d[\d.]* m?s$"))
    await expect(page.get_by_role("img", name=re.compile(r"^The last \d+: .* to "))).to_be_visible()
    await page.reload()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(fact).to_have_text(re.compile(r"^\d[\d.]* m?s$"))
    await expect(fact.locator("xpath=..")).to_have_attribute("title", "From the creation of the run")
    await expect(page.locator("#latency-line")).to_be_hidden()


async def test_waiting_in_the_queue_is_on_the_timeline(serve: Serve, visit: Visit) -> None:
    release = asyncio.Event()

    async def waits(_payload: Any) -> None:
        await release.wait()

    served = await serve(waits, streaming={"max_concurrent_runs": 1})
    await served.start()
    page = await visit(served.port)
    await run(page, "start")
    await expect(page.locator("#status")).to_have_text("Waiting to start")
    release.set()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.get_by_role("gridcell", name=re.compile("^queue, Queue"))).to_have_count(1)


async def _writes(_payload: Any, context: StreamContext) -> None:
    for word in ("It ", "rains."):
        await context.emit_token(word)
        await asyncio.sleep(0.005)
    await context.emit_usage("large", 1000, 2)
    await context.emit_usage("small", 1, 3)
