"""Two runs side by side: question, outcome, totals, timelines on one scale, and how the answers differ."""

import asyncio
import re
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import press
from tests.conftest import Serve
from tests.support import least

DIFFERENCE = """async (pairs) => {
    const { difference } = await import("./assets/runs/diff.js");
    return pairs.map(([one, other]) => difference(one, other));
}"""
TIMED = """async ([one, other]) => {
    const { difference } = await import("./assets/runs/diff.js");
    const before = performance.now();
    return [difference(one, other) === null, performance.now() - before];
}"""


async def test_runs_are_compared_side_by_side_and_on_a_phone_beneath_each_other(
    serve: Serve, visit: Visit
) -> None:
    served = await serve(_answers)
    await served.start({"question": "Will it rain?", "answer": "It will rain today."}, run_id="a")
    first_run = await served.finished("a")
    began, ended = (datetime.fromisoformat(first_run[name]) for name in ("started_at", "completed_at"))
    pause = max((ended - began).total_seconds(), 0.05)  # so that the second run takes longer on any machine
    longer = {"question": "And now?", "answer": "It will snow today.", "steps": 6, "pause": pause}
    await served.start(longer, run_id="b")
    await served.finished("b")
    page = await visit(served.port, "#compare=a,b", viewport={"width": 1280, "height": 900})
    await expect(page.locator("#run")).to_be_hidden()
    first, second = (page.get_by_role("article", name=name) for name in ("First run", "Second run"))
    for side, question, steps in ((first, "Will it rain?", 1), (second, "And now?", 6)):
        await expect(side.get_by_role("group", name="Question")).to_contain_text(question)
        await expect(side.get_by_role("status").first).to_have_text("Complete")
        assert await _height(side.locator(".outcome")) < 30, "the state is on one line"
        await expect(side.locator("dl.totals")).to_have_text(
            re.compile(r"^Time[\d.]+ m?sFirst token[\d.]+ m?sSpeed.+Tokens7 in, 8 out$")
        )
        await expect(side.get_by_role("gridcell", name=re.compile("Step"))).to_have_count(steps)
    await expect(page.locator(".difference")).to_have_text("It will rainsnow today.")
    await expect(page.locator(".difference del")).to_have_text("rain")
    await expect(page.locator(".difference ins")).to_have_text("snow")

    ends = [await side.locator(".axis span").last.text_content() for side in (first, second)]
    assert ends[0] == ends[1]
    widths = [await _width(side.get_by_role("gridcell", name="run, Run")) for side in (first, second)]
    assert widths[0] < widths[1]
    await first.get_by_role("button", name="Zoom in").click()
    await expect(second.get_by_role("button", name="Show the whole run")).to_be_enabled()
    boxes = [await side.bounding_box() for side in (first, second)]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    await assert_accessible(page)

    await page.set_viewport_size({"width": 390, "height": 800})
    boxes = [await side.bounding_box() for side in (first, second)]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["x"] == boxes[1]["x"]
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")

    await second.get_by_role("link", name="b").click()
    await expect(page.locator("#comparison")).to_be_hidden()
    await expect(page.locator("#run-id")).to_have_text("b")
    await page.go_back()
    await expect(second.get_by_role("status").first).to_have_text("Complete")
    await press(page, "Close")
    await expect(page.locator("#status")).to_have_text("No run yet")


async def test_compared_run_that_goes_on_is_shown_live(serve: Serve, visit: Visit) -> None:
    release = asyncio.Event()

    async def waits(payload: dict[str, Any], context: StreamContext) -> None:
        await context.emit_token("The same ")
        await release.wait()
        await context.emit_token("answer." if payload["good"] else "mistake.")
        if not payload["good"]:
            raise ValueError("no luck")

    served = await serve(waits)
    for name in ("good", "better", "bad"):
        await served.start({"good": name != "bad"}, run_id=name)
    page = await visit(served.port, "#compare=good,better")
    side = page.get_by_role("article", name="Second run")
    await expect(side.get_by_role("status").first).to_have_text("Running")
    await expect(side.get_by_role("gridcell", name="text")).to_have_count(1)
    await expect(page.locator("#answers")).to_have_text("The answers are compared when both runs are over.")
    release.set()
    await expect(page.locator("#answers")).to_contain_text("The answers are the same.The same answer.")
    for name in ("good", "bad"):
        await served.finished(name)
    await page.goto(page.url.replace("better", "bad"))
    await expect(side.get_by_role("status").first).to_have_text("Failed")
    await expect(side).to_contain_text("AGENT_EXECUTION_ERROR: ValueError: no luck")
    await page.goto(page.url.replace("bad", "unknown"))
    await expect(side.get_by_role("status").first).to_contain_text("no run 'unknown'")
    await expect(page.locator("#answers")).to_have_text("There are no two answers to compare.")


async def test_difference_is_that_of_words_and_restores_both_texts(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    shown = await page.evaluate(
        DIFFERENCE,
        [["one two", "one two"], ["", "new"], ["a b c d e", "a x y d e"], ["it  falls", "it falls"]],
    )
    assert [[(piece["kind"], piece["text"]) for piece in pieces] for pieces in shown] == [
        [("same", "one two")],
        [("added", "new")],
        [("same", "a "), ("removed", "b c"), ("added", "x y"), ("same", " d e")],
        [("same", "it"), ("removed", "  "), ("added", " "), ("same", "falls")],
    ]
    long = " ".join(str(number) for number in range(16_000))
    is_refused, _ = await page.evaluate(TIMED, [long, long.replace("9", "x")])
    assert is_refused

    async def compare() -> float:
        is_refused, milliseconds = await page.evaluate(TIMED, [long, long.replace("77", "x")])
        assert not is_refused
        return float(milliseconds)

    assert await least(compare, 2000) < 2000

    pairs: list[list[str]] = []
    words = st.lists(st.sampled_from(["a", "b", " ", "\n", "word", "雨が降る", "."]), max_size=12).map(
        "".join
    )

    @settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck))
    @given(words, words)
    def collect(one: str, other: str) -> None:
        pairs.append([one, other])

    collect()
    for (one, other), pieces in zip(pairs, await page.evaluate(DIFFERENCE, pairs), strict=True):
        assert "".join(piece["text"] for piece in pieces if piece["kind"] != "added") == one
        assert "".join(piece["text"] for piece in pieces if piece["kind"] != "removed") == other


async def _width(locator: Any) -> float:
    return float((await locator.bounding_box())["width"])


async def _height(locator: Any) -> float:
    return float((await locator.bounding_box())["height"])


async def _answers(payload: dict[str, Any], context: StreamContext) -> dict[str, str]:
    for word in payload["answer"].split():
        await context.emit_token(word + " ")
    for number in range(payload.get("steps", 1)):
        await asyncio.sleep(payload.get("pause", 0.05))
        await context.emit_step(f"step {number}", 40)
    await context.emit_usage("small", 7, 8)
    return {"answer": payload["answer"]}
