"""Agents whose input is a conversation: what is sent, what is shown, and how it goes on."""

from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import press
from tests.browser.test_untrusted_content import HTML, nothing_ran
from tests.conftest import Serve

MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}},
        "required": ["role", "content"],
    },
}
CHAT: dict[str, Any] = {
    "input": {
        "type": "object",
        "properties": {"messages": MESSAGES, "city": {"type": "string", "default": "Rome", "maxLength": 20}},
        "required": ["messages"],
    }
}
GRAPH = {"name": "tested", "entrypoint": "tests.agents.graphs:make_chat", "framework": "langgraph"}


class Echo:
    """An agent that streams how many messages it got, and the last one."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> None:
        self.payloads.append(payload)
        for word in (f"**{len(payload['messages'])}**", f": {payload['messages'][-1]['content']}"):
            await context.emit_token(word)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def message(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


async def ask(page: Page, text: str) -> None:
    """Send a message, and wait for the end of the run."""
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()
    await message(page).fill(text)
    await message(page).press("Enter")
    await expect(page.locator("#question")).to_contain_text(text)
    await expect(page.locator("#status")).to_have_text("Complete")


def blocks(page: Page) -> Locator:
    return page.locator("#transcript .block")


async def test_follow_up_questions_carry_the_conversation(serve: Serve, visit: Visit) -> None:
    agent = Echo()
    served = await serve(agent, io_schema=CHAT)
    page = await visit(served.port)
    await expect(page.locator("#request-title")).to_have_text("Options")
    await ask(page, "Rain?")
    await page.get_by_label("city").fill("Lima")
    await ask(page, "And then?")
    await expect(message(page)).to_be_focused()
    await expect(message(page)).to_have_value("")
    await ask(page, "Sure?")
    first = [said("user", "Rain?"), said("assistant", "**1**: Rain?"), said("user", "And then?")]
    third = [*first, said("assistant", "**3**: And then?"), said("user", "Sure?")]
    assert agent.payloads == [
        {"city": "Rome", "messages": first[:1]},
        {"city": "Lima", "messages": first},
        {"city": "Lima", "messages": third},
    ]
    shown = ["User: Rain?", "1: Rain?", "User: And then?", "3: And then?", "User: Sure?", "5: Sure?"]
    await expect(blocks(page)).to_have_text(shown, use_inner_text=True)
    await expect(page.locator("#question dl")).to_have_text("cityLima")
    await assert_accessible(page)
    await page.reload()
    await expect(blocks(page)).to_have_text(shown, use_inner_text=True)
    await ask(page, "Really?")
    assert agent.payloads[-1]["messages"] == [
        *third,
        said("assistant", "**5**: Sure?"),
        said("user", "Really?"),
    ]


async def test_last_question_is_asked_again_or_changed_and_the_rest_stays(serve: Serve, visit: Visit) -> None:
    agent = Echo()
    served = await serve(agent, io_schema=CHAT)
    page = await visit(served.port)
    await ask(page, "Rain?")
    await ask(page, "Snow?")
    await press(page, "Ask again")
    await expect(page.locator("#runs li")).to_have_count(3)
    await expect(page.locator("#status")).to_have_text("Complete")
    assert agent.payloads[2] == agent.payloads[1]
    await press(page, "Edit and ask")
    await expect(message(page)).to_be_focused()
    await expect(message(page)).to_have_value("Snow?")
    await assert_accessible(page)
    await press(page, "Cancel edit")
    await expect(message(page)).to_have_value("")
    await press(page, "Edit and ask")
    await ask(page, "Hail?")
    assert agent.payloads[3]["messages"] == [*agent.payloads[1]["messages"][:2], said("user", "Hail?")]
    await expect(blocks(page)).to_have_text(
        ["User: Rain?", "1: Rain?", "User: Hail?", "3: Hail?"], use_inner_text=True
    )
    await press(page, "New conversation")
    await expect(blocks(page)).to_have_count(0)
    await expect(page.locator("#no-conversation")).to_be_visible()
    await expect(message(page)).to_be_focused()
    await message(page).fill("Sun?")
    await page.get_by_label("city").press("Enter")
    await expect(page.locator("#status")).to_have_text("Complete")
    assert agent.payloads[4]["messages"] == [said("user", "Sun?")]


async def after_the_rest(route: Route) -> None:
    """Let a request go on once the page has shown what the others brought."""
    request = route.request
    what = "#question .bubble" if request.url.endswith("/events") else "#words .block"
    await request.frame.locator(what).first.wait_for()
    await route.continue_()


async def test_threads_remember_the_conversation(serve: Serve, visit: Visit) -> None:
    served = await serve(agent=GRAPH, arguments={"allow_request_config": True})
    page = await visit(served.port)
    for text in ("Rain?", "Snow?", "Hail?"):
        await ask(page, text)
    shown = ["User: Rain?", "1: Rain?", "User: Snow?", "2: Snow?", "User: Hail?", "3: Hail?"]
    await expect(blocks(page)).to_have_text(shown, use_inner_text=True)
    async with served.client.get("/runs") as response:
        runs = [await served.record(run["run_id"]) for run in (await response.json())["items"]]
    threads = {run["input"]["_config"]["configurable"]["thread_id"] for run in runs}
    assert len(threads) == 1
    assert [run["input"]["messages"] for run in reversed(runs)] == [
        [said("user", text)] for text in ("Rain?", "Snow?", "Hail?")
    ]
    for delayed in ("**/events", "**/runs/*-*"):  # whichever arrives last, the record or the events
        await page.route(delayed, after_the_rest)
        await page.reload()
        await expect(blocks(page)).to_have_text(shown, use_inner_text=True)
        await page.unroute(delayed)
    await press(page, "Ask again")
    await expect(page.locator("#words")).to_contain_text("4: Hail?")
    await press(page, "New conversation")
    await ask(page, "Sun?")
    await expect(page.locator("#words")).to_contain_text("1: Sun?")


async def test_without_threads_a_graph_gets_the_whole_conversation(serve: Serve, visit: Visit) -> None:
    served = await serve(agent=GRAPH)
    page = await visit(served.port)
    await ask(page, "Rain?")
    await ask(page, "Snow?")
    await expect(page.locator("#words")).to_contain_text("2: Snow?")
    record = await served.record(await page.locator("#run-id").inner_text())
    assert record["input"] == {
        "messages": [said("user", "Rain?"), said("assistant", "1: Rain?"), said("user", "Snow?")]
    }


async def test_keys_send_and_break_lines_and_nothing_is_sent_while_the_agent_works(
    serve: Serve, visit: Visit
) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, io_schema=CHAT)
    page = await visit(served.port)
    box = message(page)
    await box.press("Enter")
    await box.press_sequentially("one")
    await box.press("Shift+Enter")
    await box.press_sequentially("two")
    await box.press("Enter")
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await box.fill("Again")
    await box.press("Enter")
    agent.say("It rains.")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    assert [payload["messages"][-1]["content"] for payload in agent.payloads] == ["one\ntwo"]
    await expect(box).to_have_value("Again")
    await box.press("Enter")
    await press(page, "Stop")
    await expect(page.locator("#status")).to_contain_text("Cancelled")
    await ask_and_end(page, agent, "More")
    assert [each["content"] for each in agent.payloads[2]["messages"]] == [
        "one\ntwo", "It rains.", "Again", "More",
    ]  # fmt: skip


async def ask_and_end(page: Page, agent: ScriptedAgent, text: str) -> None:
    agent.end()
    await ask(page, text)


async def test_refused_message_is_kept_with_the_reason(serve: Serve, visit: Visit) -> None:
    content = {"type": "string", "maxLength": 5}
    item = {"properties": {"role": {"type": "string"}, "content": content}}
    schema = {"properties": {"messages": {"type": "array", "items": item}}}
    served = await serve(Echo(), io_schema={"input": schema})
    page = await visit(served.port)
    await message(page).fill("Too long")
    await press(page, "Send")
    await expect(page.locator("#message").get_by_role("alert")).to_contain_text("longer than 5 characters")
    await expect(message(page)).to_have_value("Too long")
    await expect(page.locator("#status")).to_have_text("No run yet")
    await page.get_by_label("Request body").evaluate("(editor) => (editor.closest('details').open = true)")
    await page.get_by_label("Request body").fill("[]")
    await press(page, "Send")
    await expect(page.locator("#message").get_by_role("alert")).to_have_text(
        "The options must be a JSON object."
    )
    await page.get_by_label("Request body").fill("{}")
    await ask(page, "Short")
    await expect(page.locator("#message-problem")).to_be_empty()


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        ({"$ref": "#/$defs/human"}, {"role": "human", "content": "Rain?"}),
        ({"oneOf": [{"type": "string"}, {"$ref": "#/$defs/human"}]}, {"role": "human", "content": "Rain?"}),
        (
            {"properties": {"role": {}, "content": {"type": "array", "items": {"type": "object"}}}},
            {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
        ),
        ({"properties": {"role": {"enum": ["system"]}, "content": {}}}, None),
        ({"properties": {"role": {}, "content": {}, "at": {}}, "required": ["at"]}, None),
        ({"properties": {"text": {"type": "string"}}}, None),
    ],
    ids=["reference", "one-of", "blocks", "other-role", "more-required", "no-role"],
)
async def test_messages_are_sent_as_the_schema_has_them(
    serve: Serve, visit: Visit, item: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    human = {
        "type": "object",
        "properties": {"role": {"enum": ["human", "ai"]}, "content": {"type": ["string", "array"]}},
        "required": ["role", "content"],
    }
    payloads: list[Any] = []
    schema = {"properties": {"messages": {"type": "array", "items": item}}, "$defs": {"human": human}}
    served = await serve(payloads.append, io_schema={"input": schema})
    page = await visit(served.port)
    if sent is None:
        await expect(page.locator("#fields")).to_contain_text("messages")
        await expect(page.locator("#message")).to_be_hidden()
    else:
        await ask(page, "Rain?")
        assert payloads == [{"messages": [sent]}]


async def test_answers_of_several_sources_and_of_outputs_are_carried(serve: Serve, visit: Visit) -> None:
    payloads: list[Any] = []

    async def answers(payload: Any, context: StreamContext) -> Any:
        payloads.append(payload["messages"])
        if payload["messages"][-1]["content"] == "Both?":
            for one, other in (("It ", "Not "), ("rains.", "here.")):
                await context.emit_token(one, source="lead/a")
                await context.emit_token(other, source="lead/b")
            await context.emit_message("Who asks?", "user", name="ann")
            return {"checked": True}
        await context.emit_token("Let me see. ")
        return {"answer": "It snows.", "sources": []}

    served = await serve(answers, io_schema=CHAT)
    page = await visit(served.port)
    await ask(page, "Both?")
    await expect(page.locator("#words > .block")).to_have_text(
        ["lead/aIt rains.", "lead/bNot here.", "ann, userWho asks?"]
    )
    await ask(page, "One?")
    await page.get_by_role("button", name="How to run").click()
    await page.get_by_role("radio", name="Wait for the output").click()
    await ask(page, "Again?")
    await ask(page, "End?")
    expected = ["Both?", "It rains.\n\nNot here.", "One?", "It snows.", "Again?", "It snows.", "End?"]
    assert [each["content"] for each in payloads[-1]] == expected


async def test_conversations_that_nobody_expects_are_shown_as_they_are(serve: Serve, visit: Visit) -> None:
    served = await serve(lambda payload: payload, io_schema={})
    messages = [
        {"role": "system", "content": HTML},
        {"role": HTML, "content": [{"type": "image", "url": HTML}, {"text": HTML}, HTML]},
        {"type": "ai", "content": HTML},
        {"role": ["user"], "content": None},
        {"role": "user", "content": {HTML: HTML}, "__proto__": {"content": 1}},
    ]
    await served.start({"messages": messages, HTML: HTML, "__proto__": HTML}, run_id="odd")
    page = await visit(served.port, "#run=odd")
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#earlier > .block")).to_have_count(4)
    await expect(page.locator("#question .bubble")).to_contain_text("<img src=x onerror=")
    await expect(page.locator("#question dl")).to_contain_text("__proto__<script>")
    await nothing_ran(page)


async def test_long_conversations_are_shown_from_their_last_messages(serve: Serve, visit: Visit) -> None:
    agent = Echo()
    served = await serve(agent, io_schema=CHAT)
    before = [said(("user", "assistant")[number % 2], f"message {number}") for number in range(150)]
    await served.start({"messages": [*before, said("user", "And now?")]}, run_id="long")
    page = await visit(served.port, "#run=long")
    await expect(page.locator("#words")).to_have_text("151: And now?")
    await expect(page.locator("#earlier > .block")).to_have_count(101)
    await expect(page.locator("#earlier > .block").first).to_have_text("The last 100 of 150 messages.")
    await ask(page, "Later?")
    assert len(agent.payloads[-1]["messages"]) == 153
