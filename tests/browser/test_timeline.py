"""The timeline of a run: what is drawn, live, zoomed, selected, with the keyboard, and of a large run."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.timelines import START, Happened, ShownTimeline
from tests.conftest import Serve

DONE: Happened = ("complete", 4000, {"output": {"answer": 42}, "latency_seconds": 4, "metadata": {}})
CHECKPOINT = {"name": "plan", "data": {"tasks": ["a", "b"], "notes": "x" * 150_000}}
RUN: list[Happened] = [
    ("started", 0, {"agent_name": "guide"}),
    ("progress", 0, {"step": "plan", "progress": 0.5, "message": "thinking"}),
    ("reasoning", 100, {"content": "Ask ", "source": "lead"}),
    ("reasoning", 300, {"content": "both.", "source": "lead"}),
    ("step", 500, {"node_name": "plan", "duration_ms": 500, "source": "lead", "output_keys": ["tasks"]}),
    ("checkpoint", 500, CHECKPOINT),
    (
        "tool_call",
        600,
        {"tool_call_id": "1", "name": "search", "arguments": {"q": "rain"}, "source": "lead/a"},
    ),
    ("token", 700, {"content": "It ", "source": "lead/b", "message_id": "m"}),
    ("token", 900, {"content": "rains.", "source": "lead/b", "message_id": "m"}),
    ("message", 900, {"content": "It rains.", "role": "assistant", "source": "lead/b", "message_id": "m"}),
    ("tool_result", 1100, {"tool_call_id": "1", "result": "no", "is_error": True, "source": "lead/a"}),
    ("input_requested", 1500, {"request_id": "q", "prompt": "Which day?"}),
    ("input_received", 2500, {"request_id": "q", "value": "today"}),
    ("custom:mood", 3000, {"happy": True}),
    DONE,
]
DETAILS: list[tuple[str, str, str, dict[str, str]]] = [
    (
        "search",
        "Tool: search",
        "lead/a · at 600 ms · took 500 ms · failed · frames 7 to 11",
        {"Arguments": '{\n  "q": "rain"\n}', "Error": "no"},
    ),
    (
        "text",
        "Text: text",
        "lead/b · at 700 ms · took 200 ms · 2 chunks · frames 8 to 9",
        {"Text": "It rains."},
    ),
    ("plan, Step", "Step: plan", "lead · at 0 ms · took 500 ms · frame 5", {"Output": "tasks"}),
    (
        "waits",
        "Question: waits for an answer",
        "at 1.50 s · took 1.00 s · frames 12 to 13",
        {"Question": "Which day?", "Answer": "today"},
    ),
    ("run, Run", "Run: run", "at 0 ms · took 4.00 s · frames 1 to 15", {"Output": '{\n  "answer": 42\n}'}),
    ("mood", "Event: mood", "at 3.00 s · frame 14", {"Data": '{\n  "happy": true\n}'}),
    ("Progress", "Progress: plan", "at 0 ms · frame 2", {"Progress": "50 %, thinking"}),
]


@pytest.fixture
async def page(serve: Serve, visit: Visit) -> Page:
    return await visit((await serve()).port, viewport={"width": 1280, "height": 900})


@pytest.fixture
def timeline(page: Page) -> ShownTimeline:
    return ShownTimeline(page)


async def test_whole_run_is_drawn_with_its_sources_as_rows(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN, created=-1000)
    await expect(timeline.root.get_by_role("rowheader")).to_have_text(["guide", "lead", "a", "b"])
    depths = await timeline.root.get_by_role("rowheader").evaluate_all(
        "(all) => all.map((each) => parseFloat(getComputedStyle(each).paddingLeft))"
    )
    assert depths[:2] == [0, 0]
    assert depths[2] == depths[3] > 0
    assert sorted(await timeline.labels(0)) == [
        "mood, Event, at 4.00 s",
        "plan, Checkpoint, at 1.50 s",
        "plan, Progress, at 1.00 s",
        "queue, Queue, 1.00 s, at 0 ms",
        "run, Run, 4.00 s, at 1.00 s",
        "waits for an answer, Question, 1.00 s, at 2.50 s",
    ]
    assert await timeline.labels(1) == [
        "plan, Step, 500 ms, at 1.00 s",
        "reasoning, Reasoning, 200 ms, at 1.10 s",
    ]
    assert await timeline.labels(2) == ["search, Tool, 500 ms, at 1.60 s, failed"]
    assert await timeline.labels(3) == ["text, Text, 200 ms, at 1.70 s"]
    await expect(timeline.root.get_by_role("list", name="Kinds").locator("li")).to_have_text(
        ["Queue", "Question", "Step", "Tool", "Reasoning", "Text", "Progress", "Checkpoint", "Event"]
    )
    track = await timeline.root.locator(".track").first.bounding_box()
    bar = await timeline.cell("waits for an answer").bounding_box()
    assert track
    assert bar
    assert bar["width"] / track["width"] == pytest.approx(1 / 5, abs=0.01)
    assert (bar["x"] - track["x"]) / track["width"] == pytest.approx(2.5 / 5, abs=0.01)


async def test_details_of_what_is_clicked(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN)
    for name, title, facts, parts in DETAILS:
        await timeline.cell(name).click()
        await expect(timeline.details.get_by_role("status")).to_have_text(title)
        await expect(timeline.details.locator(".note")).to_have_text(facts)
        for part, text in parts.items():
            assert await timeline.details.get_by_role("region", name=part).text_content() == text
        await expect(timeline.cell(name)).to_have_attribute("aria-selected", "true")
    await expect(timeline.root.locator("[aria-selected=true]")).to_have_count(1)


async def test_checkpoint_is_shown_whole_and_leads_to_its_frame(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN)
    await timeline.cell("Checkpoint").click()
    data = timeline.details.get_by_role("region", name="Data")
    assert len(await data.text_content() or "") == 100_000
    await timeline.details.get_by_role("button", name=re.compile("Show all 150,")).click()
    assert (await data.text_content() or "").endswith('x"\n}')
    await timeline.details.get_by_role("button", name="Show frame 6").click()
    assert await timeline.page.evaluate("window.shownFrame") == 6


async def test_time_axis_and_open_bars_grow_while_the_run_goes_on(timeline: ShownTimeline) -> None:
    page = timeline.page
    now = await page.evaluate("Date.now()") - START
    await timeline.show(
        ("started", now, {"agent_name": "guide"}),
        ("tool_call", now, {"tool_call_id": "1", "name": "search"}),
        ("step", now, {"node_name": "plan", "duration_ms": 0}),
    )
    await expect(timeline.cell("search, Tool")).to_have_attribute(
        "aria-label", re.compile(r"ms so far, at 0 ms$")
    )
    await timeline.cell("search, Tool").click()
    for tick in ("100 ms", "500 ms", "1.0 s"):
        await expect(timeline.root.locator(".axis span", has_text=tick)).to_have_count(1)
    await expect(timeline.details.locator(".note")).to_contain_text(re.compile(r"for 1\.\d\d s so far"))
    await page.evaluate("window.tested.end('failed')")


async def test_zoom_with_buttons_wheel_and_by_dragging(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN)
    whole = timeline.root.get_by_role("button", name="Show the whole run")
    ticks = timeline.root.locator(".axis span")
    await expect(ticks).to_have_text(["0", "1 s", "2 s", "3 s", "4 s"])
    await expect(whole).to_be_disabled()
    await timeline.root.get_by_role("button", name="Zoom in").click()
    await expect(ticks.first).to_have_text("1.0 s")
    await expect(timeline.cell("search")).to_have_count(1)  # it ends in what is seen
    await expect(timeline.cell("plan, Step")).to_have_count(0)
    slider = timeline.root.get_by_role("slider", name="Which part of the run is shown")
    await slider.fill("0")
    await expect(ticks.first).to_have_text("0")
    await timeline.root.get_by_role("button", name="Zoom out").click()
    await expect(slider).to_be_hidden()

    box = await timeline.root.locator(".axis").bounding_box()
    assert box
    await timeline.page.mouse.move(box["x"] - 2, box["y"] + 40)
    await timeline.page.keyboard.down("Control")
    await timeline.page.mouse.wheel(0, -400)
    await timeline.page.keyboard.up("Control")
    await expect(whole).to_be_enabled()
    await expect(ticks.first).to_have_text("0")
    await whole.click()
    await expect(ticks.last).to_have_text("4 s")

    await timeline.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    await timeline.page.mouse.down()
    await timeline.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    await timeline.page.mouse.up()
    await expect(ticks.first).to_have_text("1.0 s")
    await expect(ticks.last).to_have_text("2.0 s")
    await expect(timeline.details).to_be_hidden()
    await timeline.cell("waits").click()
    await timeline.details.get_by_role("button", name="Zoom to it").click()
    await expect(ticks.first).to_have_text("1.4 s")
    await expect(ticks.last).to_have_text("2.6 s")


async def test_keyboard_moves_through_all_of_it(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN)
    await timeline.chart.focus()
    press = timeline.page.keyboard.press
    for key, label in (
        ("ArrowRight", "run, Run"),
        ("ArrowRight", "plan, Progress"),
        ("End", "mood"),
        ("ArrowLeft", "waits"),
        ("Home", "run, Run"),
        ("ArrowDown", "plan, Step"),
        ("ArrowRight", "reasoning"),
        ("ArrowDown", "search"),
        ("ArrowDown", "text"),
        ("ArrowUp", "search"),
    ):
        await press(key)
        await expect(timeline.cell(label).first).to_be_focused()
    await press("Enter")
    await expect(timeline.details.get_by_role("status")).to_have_text("Tool: search")
    await press("+")
    await expect(timeline.root.get_by_role("button", name="Show the whole run")).to_be_enabled()
    await expect(timeline.cell("search")).to_be_focused()
    await press("Shift+ArrowLeft")
    await press("0")
    await expect(timeline.root.get_by_role("button", name="Show the whole run")).to_be_disabled()
    await expect(timeline.cell("search")).to_be_focused()
    assert await timeline.cells.evaluate_all("(all) => all.filter((each) => each.tabIndex === 0).length") == 1


async def test_items_that_cannot_be_told_apart_are_listed(timeline: ShownTimeline) -> None:
    steps: list[Happened] = [
        ("step", 1000 + index, {"node_name": f"step {index}", "duration_ms": 0}) for index in range(5)
    ]
    await timeline.show(RUN[0], *steps, DONE)
    await timeline.cell("5 steps").click()
    await expect(timeline.details.locator("li button")).to_have_count(5)
    await timeline.details.get_by_role("button", name=re.compile("^step 3")).click()
    await expect(timeline.details.get_by_role("status")).to_have_text("Step: step 3")
    await timeline.cell("5 steps").click()
    await timeline.details.get_by_role("button", name="Zoom to it").click()
    await expect(timeline.cell("step 3")).to_have_count(1)


async def test_names_are_above_the_bars_on_a_phone(timeline: ShownTimeline) -> None:
    await timeline.page.set_viewport_size({"width": 390, "height": 800})
    await timeline.show(*RUN)
    await expect(timeline.cell("search")).to_be_visible()
    for row in await timeline.rows.all():
        header = await row.get_by_role("rowheader").bounding_box()
        track = await row.locator(".track").bounding_box()
        assert header
        assert track
        assert header["y"] + header["height"] <= track["y"] + 1
        assert track["width"] > 250
    page_is_wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await timeline.page.evaluate(page_is_wider)
