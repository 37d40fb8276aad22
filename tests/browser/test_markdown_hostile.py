"""Answers that try to break out of their box, or to keep the page busy."""

import re
from typing import Any

from playwright.async_api import expect

from dockrion import StreamContext
from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import run
from tests.browser.markdown import drawn
from tests.conftest import Serve
from tests.support import least

UNSAFE = """\
[click](javascript:alert(1)) [page](data:text/html,<script>alert(1)</script>) [here](/runs) [x](vbscript:x)

![pic](data:image/png;base64,AAAA) ![other](//example.com/x.png) <img src=x onerror=alert(1)>

<form action="/runs"><button formaction="javascript:alert(1)">go</button></form>

[ref]: javascript:alert(1)

<javascript:alert(1)>
"""
CLICK = """(summary) => new Promise((resolve) => {
    const startedAt = performance.now();
    const end = () => resolve(performance.now() - startedAt);
    summary.parentElement.addEventListener("toggle", () => requestAnimationFrame(end), { once: true });
    summary.click();
})"""
# Returns the texts of which a piece takes longer than the limit to draw, or that make too many elements.
# What takes long is drawn again and again, since other processes may have been the reason.
SLOW = """async ([texts, limit]) => {
    const { Markdown } = await import("/assets/conversation/markdown.js");
    const draw = (text) => {
        const markdown = new Markdown();
        document.querySelector("footer").append(markdown.element);
        let longest = 0;
        for (let at = 0; at < text.length; at += text.length / 30) {
            const startedAt = performance.now();
            markdown.append(text.slice(at, at + text.length / 30));
            markdown.write();
            longest = Math.max(longest, performance.now() - startedAt);
        }
        markdown.end();
        markdown.element.remove();
        return [longest, markdown.element.getElementsByTagName("*").length];
    };
    const isSlow = ([longest, elements]) => longest > limit || elements > 30_000;
    return texts.filter((text) => Array.from({ length: 10 }).every(() => isSlow(draw(text))))
        .map((text) => [text.slice(0, 40), ...draw(text)]);
}"""
HOSTILE = [
    *(
        "*",
        "*a**b",
        "[",
        "[a](",
        "`",
        "``a` ",
        "> ",
        ">",
        "- ",
        "1. ",
        "- a\n",
        "|a|b|\n",
        "<a ",
        "~a~",
        "_a ",
    ),
    *("&amp;", "**a** ", "a\n=", "a@b.c ", "> - a\n> > b\n", "```\na\n```\n", "#", "\\", "![", "a\n\n"),
]


async def test_unsafe_links_images_and_html_are_text(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent)
    page = await visit(served.port)
    await run(page)
    agent.say(UNSAFE)
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    answer = page.locator("#words .markdown")
    await expect(answer).to_have_text(re.sub(r"\s+", " ", UNSAFE.replace("\n\n", "")))
    assert await answer.locator("a, img, form, button, script").count() == 0
    image = await drawn(page, "![a picture](https://example.com/p.png)")
    assert re.fullmatch(r'<p><a href="https://example.com/p.png"[^>]*>a picture</a></p>', image)


async def test_hostile_markup_is_drawn_in_bounded_time(serve: Serve, visit: Visit) -> None:
    page = await visit((await serve()).port)
    texts = [markup * (20_000 // len(markup)) for markup in HOSTILE]
    texts.append("|a|b|\n|-|-|\n" + "|a|b|\n" * 4_000)
    texts.append("```\n" + "x" * 1_000_000)
    texts.append("\n".join("  " * depth + "- a" for depth in range(400)))
    texts.append("[" * 50_000 + "]" * 50_000)
    assert await page.evaluate(SLOW, [texts, 500]) == []


async def test_page_answers_while_an_agent_writes_a_million_characters_in_one_line(
    serve: Serve, visit: Visit
) -> None:
    served = await serve(_floods)
    page = await visit(served.port)
    await run(page)
    await expect(page.locator("#words .markdown")).to_contain_text("*a")
    summary = page.locator("#editor summary")
    took = await least(lambda: summary.evaluate(CLICK), 500)
    assert took < 500, "the page must answer a click while the answer grows"
    await expect(page.locator("#status")).to_have_text("Complete")
    for box in (page.locator("html"), page.locator("#words")):
        assert await box.evaluate("(each) => each.scrollWidth === each.clientWidth")
    assert await page.evaluate("window.__pwned") is None


async def _floods(_payload: Any, context: StreamContext) -> None:
    for _ in range(100):
        await context.emit_token(
            "*a**b[c](javascript:window.__pwned=1)<img src=x onerror=window.__pwned=1>" * 140
        )
