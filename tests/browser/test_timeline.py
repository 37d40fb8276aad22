"""The timeline of a run: what is drawn, live, zoomed, selected, with the keyboard, and of a large run."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit, in_one_loop
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


@in_one_loop
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


async def test_only_a_run_with_an_error_has_failed(serve: Serve, visit: Visit) -> None:
    served = await serve()
    page = await visit(served.port)
    for name, end, label in (
        ("stopped", ("cancelled", 500, {"reason": "enough"}), "run, Run, 500 ms, at 0 ms"),
        ("broken", ("error", 500, {"error": "no", "code": "X"}), "run, Run, 500 ms, at 0 ms, failed"),
    ):
        timeline = ShownTimeline(page, name)
        await timeline.show(RUN[0], end)
        await expect(timeline.cells).to_have_count(1)
        assert await timeline.labels(0) == [label]


async def test_what_an_attempt_left_open_ends_where_the_next_begins(timeline: ShownTimeline) -> None:
    again = {"agent_name": "guide", "attempt": 2, "previous": "worker_lost"}
    tool = ("tool_call", 600, {"tool_call_id": "1", "name": "search", "arguments": {}})
    await timeline.show(RUN[0], tool, ("started", 1000, again), DONE)
    assert sorted(await timeline.labels(0)) == [
        "attempt 2, Event, at 1.00 s",
        "run, Run, 4.00 s, at 0 ms",
        "search, Tool, 400 ms, at 600 ms",
    ]


async def test_labels_of_the_axis_are_not_cut(serve: Serve, visit: Visit) -> None:
    served = await serve()
    page = await visit(served.port, viewport={"width": 1280, "height": 900})
    for name, end in (("short", 1001), ("long", 305_000)):
        timeline = ShownTimeline(page, name)
        await timeline.show(RUN[0], ("complete", end, DONE[2]))
        await expect(timeline.cells).to_have_count(1)
        assert await timeline.chart.evaluate(
            """(chart) => chart.querySelector(".axis span:last-child").getBoundingClientRect().right
                <= chart.getBoundingClientRect().right"""
        )


async def test_what_is_clicked_is_shown_whole_and_leads_to_its_frame(timeline: ShownTimeline) -> None:
    await timeline.show(*RUN)
    for name, title, facts, parts in DETAILS:
        await timeline.cell(name).click()
        await expect(timeline.details.get_by_role("status")).to_have_text(title)
        await expect(timeline.details.locator(".note")).to_have_text(facts)
        for part, text in parts.items():
            assert await timeline.details.get_by_role("region", name=part).text_content() == text
        await expect(timeline.cell(name)).to_have_attribute("aria-selected", "true")
    await expect(timeline.root.locator("[aria-selected=true]")).to_have_count(1)

    await timeline.cell("Checkpoint").click()
    data = timeline.details.get_by_role("region", name="Data")
    assert len(await data.text_content() or "") == 100_000
    await assert_accessible(timeline.page)
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
    bar, ticks = timeline.cell("search, Tool"), timeline.root.locator(".axis span")
    await expect(bar).to_have_attribute("aria-label", re.compile(r"so far, at 0 ms$"))
    await bar.click()
    facts = timeline.details.locator(".note")
    await expect(facts).to_contain_text(re.compile(r"for .*s so far"))
    axis, label, fact = (
        await ticks.all_text_contents(),
        await bar.get_attribute("aria-label"),
        await facts.text_content(),
    )
    await expect(ticks).not_to_have_text(axis)
    await expect(bar).not_to_have_attribute("aria-label", label or "")
    await expect(facts).not_to_have_text(fact or "")
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


LARGE = """async () => {
    const { Timeline } = await import("./assets/timeline/timeline.js");
    const root = document.createElement("div");
    root.id = "tested";
    document.querySelector("#run").append(root);
    const timeline = new Timeline(root);
    let [id, time] = [0, Date.parse("2026-01-01T00:00:00Z")];
    const frame = (event, data) => {
        id += 1;
        time += 1;
        const timestamp = new Date(time).toISOString();
        return { id, event, raw: "x".repeat(200), data: { timestamp, ...data } };
    };
    timeline.add([frame("started", { agent_name: "large" })]);
    for (let step = 0; step < 10_000; step += 1) {
        const at = { source: `agent/${step % 8}`, message_id: `${step}`, tool_call_id: `${step}` };
        timeline.add([
            ...Array.from({ length: 7 }, () => frame("token", { content: "x ", ...at })),
            frame("tool_call", { name: "look", arguments: { step }, ...at }),
            frame("tool_result", { result: "y", ...at }),
            frame("step", { node_name: "work", duration_ms: 8, ...at }),
        ]);
    }
    timeline.end("completed");
    return id;
}"""
CLICKS = """async () => {
    const settled = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const root = document.querySelector("#tested");
    const cells = () => [...root.querySelectorAll("[role=gridcell]")];
    const [times, counts] = [[], []];
    for (let round = 0; round < 9; round += 1) {
        for (const button of [root.querySelector("[aria-label='Zoom in']"), cells().at(-1)]) {
            await settled();
            const before = performance.now();
            button.click();
            await settled();
            times.push(performance.now() - before);
            counts.push(cells().length);
        }
    }
    return [times, counts];
}"""


async def test_large_run_answers_a_click_at_once_in_bounded_memory(timeline: ShownTimeline) -> None:
    assert await timeline.page.evaluate(LARGE) == 100_001
    await expect(timeline.cell(re.compile(r"^\d+ steps")).first).to_be_visible()
    await expect(timeline.rows).to_have_count(10)
    times, counts = await timeline.page.evaluate(CLICKS)
    assert max(min(times[::2]), min(times[1::2])) < 200
    assert 100 < max(counts) < 1500

    await timeline.page.evaluate(
        """async () => {
            const { Trace } = await import("./assets/timeline/trace.js");
            window.trace = new Trace();
            const timestamp = (time) => new Date(time).toISOString();
            const big = (id) => ({ id, event: "checkpoint", raw: { length: 1_000_000 },
                data: { name: `big ${id}`, data: [], timestamp: timestamp(id) } });
            trace.add(Array.from({ length: 100 }, (_, index) => big(index + 1)));
            window.kept = trace.rows[0].items.mark.filter(({ events }) => events !== null).length;
            trace.add(Array.from({ length: 120_000 }, (_, index) => {
                const source = `agent ${index}${"/x".repeat(20)}`;
                const data = { node_name: "s", source, timestamp: timestamp(1000 + index) };
                return { id: index, event: "step", raw: "", data };
            }));
            window.items = trace.rows.flatMap(({ items }) => Object.values(items).flat()).length;
        }"""
    )
    assert await timeline.page.evaluate("window.kept") == 16
    assert await timeline.page.evaluate("window.items") <= 50_000
    assert await timeline.page.evaluate("window.items + trace.dropped") == 120_100
    assert await timeline.page.evaluate("trace.rows.length") <= 220


async def test_absurd_events_are_drawn_within_the_run(timeline: ShownTimeline) -> None:
    parallel: list[Happened] = [
        ("step", 2000 + number, {"node_name": f"p{number}", "duration_ms": 1000}) for number in range(100)
    ]
    await timeline.show(
        RUN[0],
        ("step", 1000, {"node_name": "endless", "duration_ms": 1e308, "source": "/".join("abcdefghijklm")}),
        ("step", 1000, {"node_name": "negative", "duration_ms": -5, "source": "//"}),
        ("tool_result", 1500, {"tool_call_id": "unknown", "result": None}),
        ("input_received", 1500, {"request_id": "unknown"}),
        *parallel,
        DONE,
    )
    await expect(timeline.cell("endless, Step, 1.00 s, at 0 ms")).to_have_count(1)
    await expect(timeline.cell("negative, Step, at 1.00 s")).to_have_count(1)
    await expect(timeline.cell("95 steps")).to_have_count(1)  # six lanes, the last for all that are left
    assert len(await timeline.labels(0)) == 8


async def test_items_that_cannot_be_told_apart_are_listed(timeline: ShownTimeline) -> None:
    steps: list[Happened] = [
        ("step", 1000 + index, {"node_name": f"step {index}", "duration_ms": 0}) for index in range(5)
    ]
    await timeline.show(RUN[0], *steps, DONE)
    await timeline.cell("5 steps").click()
    await expect(timeline.details.locator("li button")).to_have_count(5)
    await assert_accessible(timeline.page)
    await timeline.details.get_by_role("button", name=re.compile("^step 3")).click()
    await expect(timeline.details.get_by_role("status")).to_have_text("Step: step 3")
    await timeline.cell("5 steps").click()
    await timeline.details.get_by_role("button", name="Zoom to it").click()
    await expect(timeline.cell("step 3")).to_have_count(1)
