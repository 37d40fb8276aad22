"""Answers in Markdown, as the page draws them while they arrive."""

from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import run
from tests.browser.markdown import drawn
from tests.conftest import Serve

ANSWER = """\
# The *pump*

It **stopped** ~~twice~~: see `log.txt` &amp; [the manual](https://example.com/a "b") or me@example.com.
The same paragraph.

2. Close
3. Open
   - [x] slowly
   - [ ] twice

> Quoted

```python
print("hi")
```

| a | b |
|---|--:|
| 1 | **2** |

***
"""
# Each text is drawn whole and in pieces, and what is drawn before its last two blocks must stay.
COMPARE = """async (fragments) => {
    const { Markdown } = await import("/assets/conversation/markdown.js");
    let seed = 11;
    const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
    const differences = [];
    for (let round = 0; round < 300; round += 1) {
        const pick = () => fragments[random(fragments.length)];
        const text = Array.from({ length: 2 + random(12) }, pick).join("");
        const whole = new Markdown();
        whole.append(text);
        whole.end();
        const streamed = new Markdown();
        const blocks = streamed.element.querySelector(".markdown").children;
        let kept = [];
        for (let at = 0, end; at < text.length; at = end) {
            end = at + 1 + random(9);
            streamed.append(text.slice(at, end));
            streamed.write();
            if (kept.some(([block, html], index) => blocks[index] !== block || block.outerHTML !== html)) {
                differences.push(["changed", text]);
            }
            kept = [...blocks].slice(0, -3).map((block) => [block, block.outerHTML]);
        }
        streamed.end();
        const html = ({ element }) => element.querySelector(".markdown").innerHTML;
        if (html(whole) !== html(streamed)) differences.push([text, html(whole), html(streamed)]);
    }
    return differences;
}"""
FRAGMENTS = [
    *(
        "text",
        " ",
        "\n",
        "\n\n",
        "# ",
        "- a\n",
        "1. b\n",
        "  - c\n",
        "> q\n",
        "```\n",
        "~~~js\n",
        "    code\n",
    ),
    *("---\n", "===\n", "| a | b |\n", "|---|---|\n", "|1|2|\n", "**bold**", "*em", "`code`", "<b>", "\r\n"),
    *(
        "[l](http://a.b)",
        "[d]: http://a.b\n",
        "[d]",
        "\\*",
        "&lt;",
        "- [ ] t\n",
        "\t",
        "* * *\n",
        "😀",
        "| x",
    ),
    *("`", "~", "_", "1", "."),
]


async def test_answer_is_drawn_with_elements_for_its_markup(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page)
    agent.say(ANSWER)
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    answer = page.locator("#words .markdown")
    await expect(answer.get_by_role("heading", name="The pump", level=4)).to_be_visible()
    for tag, text in (("h4 em", "pump"), ("strong", "stopped"), ("del", "twice"), ("p > code", "log.txt")):
        await expect(answer.locator(tag).first).to_have_text(text)
    assert (await answer.locator("p").first.inner_text()).endswith(".\nThe same paragraph.")
    await expect(answer.locator("p").first).to_contain_text("log.txt & the manual")
    for name, href in (("the manual", "https://example.com/a"), ("me@example.com", "mailto:me@example.com")):
        link = answer.get_by_role("link", name=name)
        await expect(link).to_have_attribute("href", href)
        await expect(link).to_have_attribute("target", "_blank")
        await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(answer.locator("ol")).to_have_attribute("start", "2")
    await expect(answer.get_by_role("checkbox", name="Done")).to_be_checked()
    await expect(answer.get_by_role("checkbox", name="To do")).to_be_disabled()
    await expect(answer.locator("blockquote")).to_have_text("Quoted")
    await expect(answer.get_by_label("Code, python")).to_have_text('print("hi")')
    await expect(answer.get_by_role("columnheader")).to_have_text(["a", "b"])
    await expect(answer.get_by_role("cell").last).to_have_css("text-align", "right")
    await expect(answer.locator("hr")).to_have_count(1)
    await assert_accessible(page)


async def test_answer_in_pieces_is_drawn_as_if_whole_and_its_blocks_stay(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    assert await page.evaluate(COMPARE, FRAGMENTS) == []


HEADER = '<th scope="col">a</th><th scope="col">b</th></tr></thead><tbody>'
HALF_WRITTEN = {
    "some **bol": "<p>some <strong>bol</strong></p>",
    "some **bold*": "<p>some <strong>bold</strong></p>",
    "some *em **both": "<p>some <em>em <strong>both</strong></em></p>",
    "2 * 3 and snake_case": "<p>2 * 3 and snake_case</p>",
    "call `f(*a[0": "<p>call <code>f(*a[0</code></p>",
    "see [the man": "<p>see the man</p>",
    "see [the manual](https://exam": "<p>see the manual</p>",
    "text\n-": "<p>text</p>",
    "text\n\n##": "<p>text</p>",
    "```py\nx = 1\n``": "<code>x = 1</code>",
    "```py\nx = **1": "<code>x = **1</code>",
    "| a | b |\n": HEADER + "</tbody>",
    "| a | b |\n|--": HEADER + "</tbody>",
    "| a | b |\n|---|---|\n| 1 |": HEADER + "</tbody>",
}


async def test_half_written_markup_is_shown_as_if_complete(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    assert await drawn(page, "| a | b", complete=False) == ""
    for source, shown in HALF_WRITTEN.items():
        html = await drawn(page, source, complete=False)
        assert (html == shown) if shown.startswith("<p>") else (shown in html), source
    assert (
        await drawn(page, "two **stars and\n-", complete=True) == '<h5 class="level-2">two **stars and</h5>'
    )


async def test_selection_in_a_finished_block_survives(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page)
    agent.say("first **part**\n\nsecond\n\nthird\n\n", "four")
    answer = page.locator("#words .markdown")
    await expect(answer).to_contain_text("four")
    await answer.locator("strong").select_text()
    agent.say("teen")
    await expect(answer).to_contain_text("fourteen")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    assert await page.evaluate("getSelection().toString()") == "part"


async def test_raw_and_copy_beside_an_answer(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port, permissions=["clipboard-read", "clipboard-write"])
    await run(page)
    agent.say(ANSWER)
    answer = page.locator("#words .answer")
    await answer.get_by_role("button", name="Copy", exact=True).click()
    assert await page.evaluate("navigator.clipboard.readText()") == ANSWER
    await expect(page.locator("#announcement")).to_have_text("Copied")
    await answer.get_by_role("button", name="Copy code").press("Enter")
    assert await page.evaluate("navigator.clipboard.readText()") == 'print("hi")'
    await answer.get_by_role("button", name="Raw", pressed=False).press("Enter")
    agent.say("\n*more*")
    await expect(answer.locator(".raw")).to_have_text(ANSWER + "\n*more*")
    await expect(answer.locator(".markdown")).to_be_hidden()
    await assert_accessible(page)
    await answer.get_by_role("button", name="Raw", pressed=True).press("Enter")
    await expect(answer.locator(".markdown em").last).to_have_text("more")
    await expect(answer.locator(".raw")).to_be_hidden()
    agent.end()


async def test_copy_selects_where_the_clipboard_may_not_be_used(serve: Serve, visit: Visit) -> None:
    served = await serve(_tabulates)
    page = await visit(served.port)
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.evaluate("document.execCommand = () => false")
    await run(page)
    await page.get_by_role("button", name="Copy code").click()
    await expect(page.get_by_role("button", name="Selected: press Ctrl-C")).to_be_visible()
    assert await page.evaluate("getSelection().toString()") == "x" * 500


async def _tabulates(_payload: Any, context: StreamContext) -> None:
    row = "| " + " | ".join(["a long cell"] * 12) + " |\n"
    await context.emit_token(row + "|---" * 12 + "|\n" + row + "\n```\n" + "x" * 500 + "\n```\n")


async def test_tables_and_code_scroll_in_their_own_boxes(serve: Serve, visit: Visit) -> None:
    served = await serve(_tabulates)
    page = await visit(served.port, viewport={"width": 390, "height": 844})
    await run(page)
    await expect(page.locator("#status")).to_have_text("Complete")
    await assert_accessible(page)
    for name in ("Table", "Code"):
        box = page.get_by_role("group", name=name)
        await box.focus()
        await page.keyboard.press("ArrowRight")
        await expect(box).not_to_have_js_property("scrollLeft", 0)
    for box in (page.locator("html"), page.locator("#words")):
        assert await box.evaluate("(each) => each.scrollWidth === each.clientWidth")
