"""The first fifteen minutes, as the guide's chapter tells them: its commands as written, in its order."""

import asyncio
import shlex
from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import Visit
from tests.browser.helpers import press, shows_text
from tests.e2e.terminal import CTRL_C, terminal
from tests.guide.pages import GUIDE, Block, blocks
from tests.guide.services import shell
from tests.guide.test_examples import shows
from tests.servers import free_port

GREETING, CHANGED = "what a pleasure to meet you!", "how good to see you!"


def example(start: str) -> Block:
    """Return the chapter's example that starts with a command."""
    (found,) = (block for block in blocks(GUIDE / "first-steps.md") if block.text.startswith(start))
    return found


def printed_below(start: str) -> str:
    """Return the block that shows what an example prints which is not run by the tests of all pages."""
    chapter = blocks(GUIDE / "first-steps.md")
    return chapter[chapter.index(example(start)) + 1].text


def first_words(lines: str) -> list[str]:
    return [line.partition(":")[0] for line in lines.splitlines()]


async def follow(start: str, folder: Path, port: int) -> str:
    """Run the commands of an example as they are written, and return their output."""
    return await asyncio.to_thread(
        shell, example(start).text, folder, DOCKRION_URL=f"http://127.0.0.1:{port}"
    )


async def test_new_agent_is_made_run_changed_broken_and_mended(tmp_path: Path, visit: Visit) -> None:
    port = free_port()
    assert shows(await follow("dockrion init", tmp_path, port), example("dockrion init").output)
    folder = tmp_path / "my-agent"
    dockfile, agent = folder / "Dockfile.yaml", folder / "agent.py"
    dockfile.write_text(dockfile.read_text().replace("port: 8080", f"port: {port}"))
    right = agent.read_text()
    assert "Hello Ada" in await follow("dockrion test", folder, port)

    run = shlex.split(example("dockrion run").text)
    with terminal(folder, *run[2:]) as shown:
        await shown.until("my-agent", f"http://127.0.0.1:{port}/", "Press Ctrl-C")
        page = await visit(port)
        await page.get_by_label("name").fill("Ada")
        await press(page, "Run")
        await expect(page.locator("#words")).to_contain_text(f"Hello Ada, {GREETING}")
        assert f"Hello Grace, {GREETING}" in await follow("dockrion invoke", folder, port)
        doctor = await follow("dockrion doctor", folder, port)
        assert first_words(doctor) == first_words(printed_below("dockrion doctor"))

        async with shows_text(page, "#readiness", "Reloaded"):
            agent.write_text(right.replace(GREETING, CHANGED))
        await press(page, "Run")
        await expect(page.locator("#words")).to_contain_text(f"Hello Ada, {CHANGED}")

        agent.write_text(right.replace("async def greet(", "async def greet(("))
        await expect(page.locator("#broken")).to_contain_text("SyntaxError")
        await shown.until("SyntaxError")

        async with shows_text(page, "#readiness", "Reloaded"):
            agent.write_text(right)
        await press(page, "Run")
        await expect(page.locator("#words")).to_contain_text(f"Hello Ada, {GREETING}")
        shown.type(CTRL_C)
        assert await shown.exit_code() == 0
