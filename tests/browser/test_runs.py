"""Runs as the page shows them: started, watched, cancelled and reopened."""

import re
from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.agents import ScriptedAgent, converses, shows_everything
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run, sequences
from tests.conftest import Serve


async def test_tokens_appear_one_after_another(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    for pattern in ("stream", "start"):
        await run(page, pattern)
        await expect(page.locator("#status")).to_have_text("Running")
        seen = ""
        for word in ("one", " two", " three"):
            agent.say(word)
            seen += word
            await expect(page.locator("#words")).to_have_text(seen)
        await expect(page.locator("#connection")).to_have_text("Live")
        agent.end()
        await expect(page.locator("#status")).to_have_text("Complete")
        await expect(page.locator("#outcome pre")).to_contain_text(
            re.compile(r'"said".*"one".*" three"', re.DOTALL)
        )
        assert await sequences(page) == [1, 2, 3, 4, 5]
        await expect(page.locator("#sequence")).to_have_text("5")
        await expect(page.locator("#runs")).to_contain_text("completed")


async def test_every_type_of_event_is_shown(serve: Serve, visit: Visit) -> None:
    served = await serve(shows_everything)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await page.get_by_role("gridcell", name="write, Step").click()
    await expect(page.locator("#waterfall .details")).to_contain_text(re.compile("took 1.50 s.*topic.*text"))
    await page.get_by_role("button", name="Show frame 5").click()
    await expect(page.locator("#frames li", has=page.locator(".row:focus"))).to_contain_text(
        '"node_name": "write"'
    )
    await press(page, "Collapse all")
    for row, inside in (("checkpoint", '"parts"'), ("mood", '"happy": true')):
        await page.locator("#frames .row", has_text=row).click()
        await expect(page.locator("#frames pre", has_text=inside)).to_be_visible()
    await press(page, "Collapse all")
    await page.locator("#frames .row", has_text="complete").click()
    await expect(page.locator("#frames pre").last).to_have_text(
        re.compile(r"^id: 8\nevent: complete\ndata: \{.*\}$", re.DOTALL)
    )
    for fact in ("#time", "#first-token", "#latency"):
        await expect(page.locator(fact)).to_have_text(re.compile(r"^\d[\d.]* m?s$"))


async def test_progress_is_shown_until_the_run_is_complete(serve: Serve, visit: Visit) -> None:
    served = await serve(_progresses)
    page = await visit(served.port)
    await page.locator("#payload").fill('"fail"')
    await run(page)
    await expect(page.locator("#status")).to_contain_text("Failed")
    await expect(page.get_by_role("progressbar", name="plan")).to_have_attribute("value", "0.5")
    await expect(page.locator("#progress")).to_contain_text("50 %, still thinking")
    await page.locator("#payload").fill('"work"')
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#progress")).to_be_hidden()


async def _progresses(payload: Any, context: StreamContext) -> None:
    await context.emit_progress("plan", 0.25, "thinking")
    await context.emit_progress("plan", 0.5, "still thinking")
    if payload == "fail":
        raise ValueError


async def test_conversation_is_shown_in_order_with_sources(serve: Serve, visit: Visit) -> None:
    served = await serve(converses)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    blocks = page.locator("#words > .block")
    await expect(blocks).to_have_text(
        [
            "ann, userRain?",
            "leadReasoningAsk both.Ask both.",
            "lead/aIt is wet.",
            "lead/bNot at all.",
            re.compile(r'^lead/asearch\{"q":"rain"\}1\.50 s$'),
            re.compile(r"^lead/blook\{\}failed, [\d.]+ m?s$"),
            "wait{}no result",
            'leadDone. {"type":"image","url":"u"}',
        ]
    )
    for number, parts in ((1, ["Ask both."]), (4, ["rain", "hits"]), (5, ["{}", "no window"])):
        await blocks.nth(number).locator("summary").click()
        for part in parts:
            await expect(blocks.nth(number)).to_contain_text(part)
    await expect(blocks.nth(5).locator("h4")).to_have_text(["Arguments", "Error"])
    await expect(page.locator("#usage tbody tr")).to_have_text(["large1,0012021,203", "unknown055"])
    lead = (
        page.locator("#waterfall").get_by_role("row").filter(has=page.get_by_role("rowheader", name="lead"))
    )
    await expect(lead.get_by_role("gridcell", name="plan, Step")).to_have_count(1)


async def test_cancelling_stops_the_agent(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    for pattern in ("stream", "start"):
        await run(page, pattern)
        agent.say("one")
        await expect(page.locator("#words")).to_have_text("one")
        await press(page, "Stop")
        await expect(page.locator("#status")).to_have_text("Cancelled: stopped on the page")
        await expect(page.locator("#cancel")).to_be_hidden()
        await expect(page.locator("#curl")).to_contain_text("-X DELETE")
        assert agent.stopped.is_set()
        agent.stopped.clear()


async def test_reloading_in_the_middle_shows_the_whole_run(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    for pattern in ("stream", "start"):
        await run(page, pattern)
        agent.say("one", " two")
        await expect(page.locator("#words")).to_have_text("one two")
        await page.reload()
        await expect(page.locator("#words")).to_have_text("one two")
        agent.say(" three")
        await expect(page.locator("#words")).to_have_text("one two three")
        agent.end()
        await expect(page.locator("#status")).to_have_text("Complete")
        assert await sequences(page) == [1, 2, 3, 4, 5]
    assert len(agent.payloads) == 2


async def test_two_tabs_on_one_run_show_the_same(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page, "start")
    agent.say("one")
    await expect(page.locator("#words")).to_have_text("one")
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator("#words")).to_have_text("one")
    agent.say(" two")
    agent.end()
    for tab in (page, other):
        await expect(tab.locator("#status")).to_have_text("Complete")
        await open_tab(tab, "Frames")
        await expect(tab.locator("#frames .row")).to_have_count(4)
    for part in ("#words", "#outcome pre", "#frames ol", "#run-id", "#sequence", "#time"):
        assert await page.locator(part).inner_text() == await other.locator(part).inner_text()


async def test_recent_runs_are_listed_replayed_and_left_with_back(serve: Serve, visit: Visit) -> None:
    served = await serve(shows_everything)
    await served.start(run_id="older")
    await served.finished("older")
    served.use(_fails)
    await served.start(run_id="newer")
    await served.finished("newer")
    page = await visit(served.port)
    await expect(page.locator("#runs .name")).to_have_text(["newer", "older"])
    await page.get_by_role("button", name="older").click()
    await expect(page.locator("#words")).to_have_text("Hello")
    await expect(page.get_by_role("button", name="older")).to_have_attribute("aria-current", "true")
    await page.get_by_role("button", name="newer").click()
    await expect(page.locator("#status")).to_have_text("Failed: the agent raised an error")
    await expect(page.locator("#outcome")).to_contain_text("no luck")
    await expect(page.locator("#words")).to_be_hidden()
    await page.go_back()
    await expect(page.locator("#words")).to_have_text("Hello")
    await page.goto(page.url.replace("older", "unknown"))
    await expect(page.locator("#status")).to_contain_text("no run 'unknown'")


def _fails(_payload: Any) -> None:
    raise ValueError("no luck")
