"""The form made from `io_schema.input`, and its JSON editor."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import Page, expect

from dockrion.web.app import create_app
from dockrion.web.service import SERVICE
from tests.agents import typed
from tests.browser.conftest import Visit, in_one_loop
from tests.browser.helpers import press, run
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, dockfile

SCHEMA: dict[str, Any] = {
    "properties": {
        "topic": {"type": "string", "maxLength": 100, "description": "What to write about"},
        "words": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        "warmth": {"anyOf": [{"type": "number"}, {"type": "null"}], "title": "Warmth"},
        "rhymes": {"type": "boolean"},
        "loud": {"type": "boolean"},
        "tone": {"enum": ["calm", "wild", 3]},
        "author": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 20},
                "age": {"$ref": "#/$defs/age", "description": "In years"},
            },
            "required": ["name"],
        },
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 2},
        "more": {"anyOf": [{"type": "string"}, {"type": "array"}]},
    },
    "required": ["topic", "rhymes"],
    "$defs": {"age": {"type": ["integer", "null"], "minimum": 0}},
}


async def payload(page: Page) -> Any:
    return json.loads(await page.get_by_label("Request body").input_value())


def echoes(value: Any) -> Any:
    return value


async def test_form_values_are_sent(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await expect(page.get_by_label("topic")).to_have_attribute("required", "")
    await expect(page.get_by_label("words")).to_have_attribute("max", "50")
    await expect(page.locator("#fields")).to_contain_text("What to write about. At most 100 characters.")
    assert await payload(page) == {"topic": "", "words": 20, "rhymes": False}
    await page.get_by_label("topic").fill("Rain")
    await page.get_by_label("words").fill("")
    await page.get_by_label("Warmth").fill("-1.5")
    await page.get_by_label("rhymes").check()
    await page.get_by_label("loud").select_option("false")
    await page.get_by_label("tone").select_option("3")
    await press(page, "Add author")
    await page.get_by_label("name").fill("Ada")
    await expect(page.locator("#fields")).to_contain_text("In years. At least 0.")
    await page.get_by_role("spinbutton", name="age").fill("36")
    await press(page, "Add tags")
    await press(page, "Add to tags")
    await page.get_by_label("tags 1").fill("first")
    await press(page, "Add to tags")
    await page.get_by_label("tags 2").fill("second")
    await expect(page.get_by_role("button", name="Add to tags")).to_be_disabled()
    await press(page, "Remove tags 1")
    await page.get_by_label("more").fill("[1, {}]")
    filled = {
        "topic": "Rain",
        "warmth": -1.5,
        "rhymes": True,
        "loud": False,
        "tone": 3,
        "author": {"name": "Ada", "age": 36},
        "tags": ["second"],
        "more": [1, {}],
    }
    assert await payload(page) == filled
    await run(page, "invoke")
    await expect(page.locator("#status")).to_have_text("Complete")
    assert json.loads(await page.locator("#outcome pre").inner_text()) == filled


async def test_a_field_for_json_is_marked_once_what_is_entered_is_wrong(serve: Serve, visit: Visit) -> None:
    schema = {"type": "object", "properties": {"any": {}, "text": {"type": "string"}}, "required": ["any"]}
    page = await visit((await serve(echoes, io_schema={"input": schema})).port)
    field = page.get_by_label("any")
    await expect(field).to_have_accessible_description("JSON.")
    color = await page.get_by_label("text").evaluate("element => getComputedStyle(element).borderTopColor")
    await expect(field).to_have_css("border-top-color", color)
    await field.fill("{")
    await field.blur()
    await expect(field).not_to_have_css("border-top-color", color)
    await field.fill("{}")
    await field.blur()
    await expect(field).to_have_css("border-top-color", color)


async def test_json_editor_fills_the_form_and_keeps_properties_without_a_field(
    serve: Serve, visit: Visit
) -> None:
    served = await serve(echoes, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await expect(page.get_by_label("topic")).to_be_visible()  # what makes the form closes the editor
    await page.get_by_text("Edit as JSON").click()
    editor = page.get_by_label("Request body")
    await editor.fill('{"topic": "Snow", "extra": [1], "author": {"name": "Bob", "pen": 1}, "words": "many"}')
    await expect(page.get_by_label("topic")).to_have_value("Snow")
    await expect(page.get_by_label("name")).to_have_value("Bob")
    await page.get_by_label("topic").fill("Ice")
    assert await payload(page) == {
        "topic": "Ice",
        "extra": [1],
        "author": {"name": "Bob", "pen": 1},
        "words": "many",
    }
    await editor.fill('{"topic": ')
    await expect(page.locator("#payload-problem")).to_contain_text("This is not JSON")
    await run(page)
    await expect(page.locator("#status")).to_have_text("No run yet")


async def test_violations_are_shown_at_their_fields(serve: Serve, visit: Visit) -> None:
    served = await serve(echoes, io_schema={"input": SCHEMA})
    page = await visit(served.port)
    await page.get_by_label("words").fill("51")
    await run(page, "start")
    words = page.get_by_label("words")
    await expect(page.locator("#problem")).to_have_text("Not sent yet: please correct one field.")
    await expect(words).to_have_attribute("aria-invalid", "true")
    await expect(words).to_have_accessible_description("This must be at most 50. 1 to 50.")
    await expect(words).to_be_focused()
    await expect(page.locator("#status")).to_have_text("No run yet")
    await run(page, "invoke")
    await expect(page.locator("#status")).to_have_text("Not started")
    await words.fill("50")
    await expect(words).not_to_have_attribute("aria-invalid", "true")
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#problem")).to_be_empty()


NAMES = st.sampled_from(["a", "b", "__proto__"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "topic", "__proto__"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab") | st.just("__proto__"), inner)
    ),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "number"},
            {"type": "boolean"},
            {"type": ["integer", "null"]},
            {"enum": ["a", 1, None]},
            {"const": [1]},
            {"anyOf": []},
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            {"$ref": "#"},
            {"$ref": "#/type", "description": "x"},
            {"$ref": "#anchor"},
            {"$ref": "http://elsewhere/"},
            {"type": "object"},
        ]
    ),
    lambda inner: (
        inner.map(lambda items: {"type": "array", "items": items})
        | st.builds(
            lambda properties, required: {"type": "object", "properties": properties, "required": required},
            st.dictionaries(NAMES, inner),
            st.just([]) | st.just(["a"]),
        )
    ),
    max_leaves=5,
)
SET_AND_GET = """async (text) => {
    const { field } = await import('/assets/request/fields.js');
    return JSON.stringify(JSON.parse(text).map(([schema, value]) => {
        const place = { label: "x", path: "$", required: true, root: schema, depth: 0, changed() {} };
        const made = field(schema, place);
        made.set(value);
        return made.get();
    }));
}"""


@in_one_loop
async def page(serve: Serve, visit: Visit) -> Page:
    return await visit((await serve()).port)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(cases=st.lists(st.tuples(SCHEMAS, VALUES), min_size=5, max_size=30))
async def test_unedited_values_are_kept_for_any_schema(page: Page, cases: list[tuple[Any, Any]]) -> None:
    kept = await page.evaluate(SET_AND_GET, json.dumps(cases))
    assert json.loads(kept) == [value for _, value in cases]


async def test_form_is_made_from_the_type_of_a_handler(serve: Serve, visit: Visit) -> None:
    served = await serve(agent={"name": "tested", "handler": "tests.agents.typed:answer"})
    page = await visit(served.port)
    await page.get_by_label("text").fill("Rain?")
    await press(page, "Add to related")
    await page.get_by_label("text").last.fill("Snow?")
    await page.get_by_label("since").first.fill("noon")
    assert await payload(page) == {
        "text": "Rain?",
        "since": "noon",
        "related": [{"text": "Snow?", "since": None, "related": []}],
    }
    await run(page, "invoke")
    since = page.get_by_label("since").first
    await expect(since).to_have_accessible_description("Invalid RFC3339 encoded datetime")
    await expect(since).to_have_attribute("aria-invalid", "true")


async def test_form_is_shown_once_the_agent_is_loaded(tmp_path: Path, visit: Visit) -> None:
    typed.may_load.clear()
    agent = {"name": "tested", "entrypoint": "tests.agents.typed:create_slowly", "framework": "custom"}
    server = TestServer(create_app(dockfile(tmp_path, {"agent": agent})))
    await server.start_server()
    try:
        assert server.port is not None
        page = await visit(server.port)
        await page.clock.install()
        await page.reload()
        await expect(page.locator("#readiness")).to_contain_text("the agent is being loaded")
        await expect(page.get_by_label("Request body")).to_have_value("{}")
        await expect(page.get_by_label("text")).to_have_count(0)
        typed.may_load.set()
        await asyncio.wait_for(server.app[SERVICE].loading, TIMEOUT_SECONDS)
        await page.clock.fast_forward(3000)
        await expect(page.get_by_label("text")).to_be_visible()
        await expect(page.locator("#readiness")).to_have_text("Ready")
    finally:
        typed.may_load.set()
        await server.close()


async def test_what_breaks_a_rule_is_said_in_words_at_its_field(serve: Serve, visit: Visit) -> None:
    schema = {
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "count": {"type": "integer"},
            "size": {"type": "number", "exclusiveMinimum": 0},
            "day": {"type": "string", "format": "date", "pattern": "-"},
            "zip": {"type": "string", "maxLength": 2, "pattern": "^[a-z]*$"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "any": {},
        },
        "required": ["name", "count", "tags"],
        "additionalProperties": False,
    }
    page = await visit((await serve(echoes, io_schema={"input": schema})).port)
    await page.get_by_label("size").fill("0")
    await page.get_by_label("day").fill("today")
    await page.get_by_label("zip").fill("abc")
    await press(page, "Run")
    said = {
        "name": "This is required.",
        "count": "This is required.",
        "size": "This must be more than 0.",
        "day": "This must be a date, such as 2026-01-31.",
        "zip": "This must have at most 2 characters, and has 3.",
    }
    for label, text in said.items():
        await expect(page.get_by_label(label)).to_have_accessible_description(
            re.compile(f"^{re.escape(text)}")
        )
    tags = page.get_by_role("group", name="tags")
    await expect(tags).to_have_accessible_description("This must have at least 1 entry.")
    await expect(page.locator("#problem")).to_have_text("Not sent yet: please correct 6 fields.")
    await page.get_by_label("count").fill("1.5")
    await press(page, "Run")
    await expect(page.get_by_label("count")).to_have_accessible_description("This must be a whole number.")
    await page.get_by_label("any").fill("{")
    await press(page, "Run")
    await expect(page.get_by_label("any")).to_have_accessible_description(re.compile("^This is not JSON: "))
    await expect(page.get_by_label("any")).to_be_focused()
    await page.get_by_text("Edit as JSON").click()
    await page.get_by_label("Request body").fill('{"name": "a", "count": 1, "tags": ["b"], "other": 1}')
    await press(page, "Run")
    await expect(page.locator("#problem li")).to_have_text(
        "Additional properties are not allowed ('other' was unexpected)"
    )
