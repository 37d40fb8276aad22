"""Lost connections, and what the page shows of them."""

import pytest
from playwright.async_api import Route, expect

from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import choose, open_tab, press, run, sequences
from tests.browser.proxy import proxy
from tests.conftest import Serve
from tests.support import wait_until


@pytest.mark.parametrize("pattern", ["stream", "start"])
async def test_dropped_connection_is_resumed_without_a_gap(serve: Serve, visit: Visit, pattern: str) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    async with proxy(served.port) as between:
        page = await visit(between.port)
        await run(page, pattern)
        agent.say("one")
        await expect(page.locator("#words")).to_have_text("one")
        between.cut()
        await expect(page.locator("#connection")).to_have_text("Connection lost after event 2, trying again")
        agent.say(" two")
        await wait_until(lambda: between.refused > 1)
        between.restore()
        await expect(page.locator("#connection")).to_have_text("Live, resumed after event 2")
        await expect(page.locator("#words")).to_have_text("one two")
        agent.say(" three")
        agent.end()
        await expect(page.locator("#status")).to_have_text("Complete")
        await expect(page.locator("#words")).to_have_text("one two three")
        await expect(page.locator("#connection")).to_have_text("The connection was lost and resumed once")
        assert await sequences(page) == [1, 2, 3, 4, 5]
        notes = page.locator("#frames .connection-note")
        await expect(notes).to_have_text(
            ["Connection lost after event 2", "Connection resumed after event 2"]
        )
    assert len(agent.payloads) == 1


async def test_page_starts_once_the_service_can_answer(serve: Serve, visit: Visit) -> None:
    served = await serve(ScriptedAgent())
    page = await visit(served.port, "health")
    busy = {"success": False, "error": "busy now", "code": "SERVICE_UNAVAILABLE"}
    await page.route("**/info", lambda route: route.fulfill(status=503, json=busy))
    await page.goto(f"http://127.0.0.1:{served.port}/")
    await expect(page.locator("#problem")).to_have_text("busy now")
    await page.unroute("**/info")
    await expect(page.locator("#send")).to_be_visible()
    await expect(page.locator("#problem")).to_be_empty()


async def test_what_cannot_be_loaded_is_said(serve: Serve, visit: Visit) -> None:
    served = await serve(ScriptedAgent())
    page = await visit(served.port, "#guide=nothing")
    await expect(page.get_by_role("dialog", name="Guide")).to_contain_text("This chapter cannot be shown")
    await page.keyboard.press("Escape")
    await page.context.set_offline(True)
    await page.get_by_role("link", name="Schema").click()
    await expect(page.locator("#problem")).to_have_text(
        "The schema cannot be shown: The service cannot be reached."
    )


async def test_silent_connection_counts_as_lost(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, streaming={"events": {"heartbeat_interval": 1}})
    async with proxy(served.port) as between:
        page = await visit(between.port)
        await run(page, "start")
        agent.say("one")
        await expect(page.locator("#words")).to_have_text("one")
        between.silence()
        await expect(page.locator("#connection")).to_contain_text("Connection lost after event 2")
        between.restore()
        agent.say(" two")
        agent.end()
        await expect(page.locator("#words")).to_have_text("one two")
        await expect(page.locator("#status")).to_have_text("Complete")


async def test_timed_out_stream_is_continued_without_a_notice(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, streaming={"connection": {"default_timeout": 1}})
    page = await visit(served.port)
    await run(page, "start")
    agent.say("one")
    await open_tab(page, "Frames")
    await expect(page.locator("#frames ol")).to_contain_text("timeout")
    agent.say(" two")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words")).to_have_text("one two")
    await expect(page.locator("#connection")).to_have_text("")


async def test_dropped_events_are_reported(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    agent.say(*"x" * 20)
    agent.end()
    served = await serve(agent, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    page = await visit(served.port, f"#run={run_id}")
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#gap")).to_contain_text("Events 1 to 12 are no longer stored")
    assert await sequences(page) == list(range(13, 23))


async def test_run_that_cannot_be_resumed_fails_with_its_connection(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, streaming={"async_runs": False})
    async with proxy(served.port) as between:
        page = await visit(between.port)
        await choose(page, "invoke")
        await press(page, "How to run: Wait for the output")
        await expect(page.get_by_role("radio")).to_have_count(2)
        await expect(page.get_by_role("radio", name="Start and watch")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.locator("#recent")).to_contain_text("This service lists no others.")
        await run(page)
        agent.say("one")
        await expect(page.locator("#words")).to_have_text("one")
        between.cut()
        await expect(page.locator("#status")).to_contain_text(
            "The connection was lost, and this run cannot be resumed."
        )
        await wait_until(agent.stopped.is_set)
        await expect(page.locator("#words")).to_have_text("one")


async def test_closing_cancels_a_run_that_cannot_be_resumed(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, streaming={"async_runs": False})
    page = await visit(served.port)
    for pattern in ("stream", "invoke"):
        await run(page, pattern)
        await wait_until(lambda: agent.payloads)
        agent.payloads.clear()
        await press(page, "Stop")
        await expect(page.locator("#status")).to_have_text("Cancelled")
        await wait_until(agent.stopped.is_set)
        agent.stopped.clear()


async def test_without_streaming_a_run_is_polled(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, expose={"streaming": "none"})
    page = await visit(served.port)
    await expect(page.get_by_role("button", name="How to run: Start and watch")).to_be_visible()
    await run(page, "start")
    await expect(page.locator("#status")).to_have_text("Running")
    agent.say("one")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#outcome pre")).to_contain_text('"one"')


@pytest.mark.parametrize(("pattern", "path"), [("stream", "/invoke/stream"), ("start", "/runs")])
async def test_lost_answer_is_asked_for_again_and_the_agent_runs_once(
    serve: Serve, visit: Visit, pattern: str, path: str
) -> None:
    served = await serve(agent := ScriptedAgent())
    page = await visit(served.port)
    keys: list[str] = []

    async def lose(route: Route) -> None:
        if route.request.method == "POST":
            keys.append(route.request.headers["idempotency-key"])
        if route.request.method != "POST" or len(keys) == 2:
            await route.continue_()
            return
        headers = {"Idempotency-Key": keys[0], "Content-Type": "application/json"}
        url = f"{path}{route.request.url.partition(path)[2]}"
        async with served.client.post(url, data=route.request.post_data, headers=headers):
            await route.abort()

    await page.route(f"**{path}*", lose)
    await run(page, pattern)
    agent.say("one")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words")).to_have_text("one")
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(agent.payloads) == 1
