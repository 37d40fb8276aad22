"""Markdown drawn by the page without a run."""

from playwright.async_api import Page

DRAW = """async ([parts, complete]) => {
    const { Markdown } = await import("/assets/conversation/markdown.js");
    const markdown = new Markdown();
    for (const part of parts) {
        markdown.append(part);
        markdown.write();
    }
    if (complete) markdown.end();
    return markdown.element.querySelector(".markdown").innerHTML;
}"""


async def drawn(page: Page, *parts: str, complete: bool = True) -> str:
    """Return the HTML of an answer that arrives in parts."""
    return str(await page.evaluate(DRAW, [parts, complete]))
