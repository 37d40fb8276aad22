"""The programs that the page shows for what was just done: they are run, and do the same."""

import asyncio
import json
import os
import re
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.async_api import Page, expect

from dockrion import StreamContext
from tests.browser.accessible import assert_accessible
from tests.browser.conftest import Visit
from tests.browser.helpers import open_tab, press, run, shell
from tests.browser.test_access import KEY, NAMED, SECRET, TOKENS, enter
from tests.conftest import Serve
from tests.interop import node
from tests.support import TIMEOUT_SECONDS, Served, wait_until

SIMPLE = {"topic": "Rain", "words": [1, 2.5, None, True], "long": "x" * 100}
# What a shell, Python or JavaScript would read in another way.
TRICKY = (
    r"""{"said": "it's \"one\" $HOME `id` \\n & <two> ${x} \ud83d\ude00 \/ \u202e\u2028 true",
    "big": 12345678901234567890, "one": 1.50, "__proto__": {"none": null}, "no": false, """
    '"\u202e": "\u0085\u2066"}'
)


class Recorder:
    """An agent that keeps what it is given, and answers."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def received(self, count: int) -> None:
        await wait_until(lambda: len(self.payloads) == count)

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        await context.emit_token("Here ")
        await context.emit_token("it is.")
        return {"answer": len(self.payloads)}


async def programs(page: Page) -> dict[str, str]:
    """Return what the tab shows, by language."""
    return {name: await page.locator(f"#{name}").inner_text() for name in ("curl", "python", "javascript")}


async def execute(folder: Path, language: str, program: str, **variables: str) -> str:
    """Run a program as the page shows it, and return what it writes."""
    if language == "curl":
        return await shell(program, **variables)
    file = folder / ("program.py" if language == "python" else "program.mjs")
    file.write_text(program)
    command = sys.executable if language == "python" else await asyncio.to_thread(node.executable)
    process = await asyncio.create_subprocess_exec(
        command, file, env=os.environ | variables, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(TIMEOUT_SECONDS):
        written, _ = await process.communicate()
    assert process.returncode == 0, (program, written.decode())
    return written.decode()


@pytest.mark.parametrize(
    ("body", "patterns"),
    [(json.dumps(SIMPLE, indent=2), ("stream", "start")), (TRICKY, ("invoke",))],
    ids=["simple", "tricky"],
)
async def test_programs_do_what_was_done(
    serve: Serve, visit: Visit, tmp_path: Path, body: str, patterns: tuple[str, ...]
) -> None:
    agent = Recorder()
    served = await serve(agent)
    page = await visit(served.port)
    await page.get_by_label("Request body").fill(body)
    for pattern in patterns:
        await run(page, pattern)
        await expect(page.locator("#status")).to_have_text("Complete")
        for language, program in (await programs(page)).items():
            before = len(agent.payloads)
            written = await execute(tmp_path, language, program)
            await agent.received(before + 1)
            assert agent.payloads[-1] == json.loads(body), program
            if (language, pattern) == ("curl", "start"):
                assert '"status":"accepted"' in written
            else:
                assert re.search(rf"""["']answer["']: ?{before + 1}\b""", written), (program, written)
            if pattern != "invoke" and language != "curl":
                assert "Here it is.\noutput: " in written


async def test_programs_watch_a_run_and_answer_its_question(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    served = await serve(_asks)
    page = await visit(served.port)
    for language in ("curl", "python", "javascript"):
        run_id = f"for-{language}"
        await served.start({}, run_id=run_id)
        await page.goto(f"http://127.0.0.1:{served.port}/#run={run_id}")
        await page.get_by_role("textbox", name="Answer").fill("x")
        watch = (await programs(page))[language]
        await press(page, "Answer")
        await expect(page.locator("#status")).to_have_text("Complete")
        assert re.search(r"""["']named["']: ?["']x["']""", await execute(tmp_path, language, watch))
        answer = (await programs(page))[language]
        other = f"other-{language}"
        await served.start({}, run_id=other)
        await waits(served, other)
        record = await served.record(other)
        asked = re.findall(r'"request_id": ?"([^"]+)"', answer)[0]
        answer = answer.replace(run_id, other).replace(asked, record["waiting_for"]["request_id"])
        await execute(tmp_path, language, answer)
        assert (await served.finished(other))["output"] == {"named": "x"}


async def test_programs_stop_a_run(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    served = await serve(_asks)
    page = await visit(served.port)
    await run(page, "start")
    await expect(page.locator("#status")).to_have_text("Waiting for an answer")
    await page.locator("#stop").click()
    await expect(page.locator("#status")).to_contain_text("Cancelled")
    stopped = await page.locator("#run-id").inner_text()
    for language, program in (await programs(page)).items():
        await served.start({}, run_id=language)
        await waits(served, language)
        await execute(tmp_path, language, program.replace(stopped, language))
        assert (await served.finished(language))["status"] == "cancelled"


async def waits(served: Served, run_id: str) -> None:
    async with served.events(run_id) as reader:
        await reader.until("input_requested")


async def _asks(_payload: Any, context: StreamContext) -> dict[str, Any]:
    return {"named": await context.ask("Name it", {"type": "string"})}


@pytest.mark.parametrize("auth", [NAMED, TOKENS], ids=["header", "bearer"])
async def test_programs_read_the_key_from_a_variable(
    serve: Serve, visit: Visit, tmp_path: Path, auth: dict[str, Any]
) -> None:
    claims = {"sub": "ann", "exp": int(time.time()) + 600}
    secret = jwt.encode(claims, SECRET, algorithm="HS256") if auth is TOKENS else KEY
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\nSHARED_SECRET={SECRET}\n")
    agent = Recorder()
    served = await serve(agent, auth=auth)
    page = await visit(served.port)
    await enter(page, secret)
    await run(page, "start")
    await expect(page.locator("#status")).to_have_text("Complete")
    await open_tab(page, "Code")
    await expect(page.locator("#code")).to_contain_text("DOCKRION_KEY has your key or token")
    for number, (language, program) in enumerate((await programs(page)).items(), 2):
        assert secret not in program
        written = await execute(tmp_path, language, program, DOCKRION_KEY=secret)
        assert "accepted" in written or "Here it is." in written
        await agent.received(number)


async def test_code_is_shown_by_language_and_copied(serve: Serve, visit: Visit) -> None:
    served = await serve(Recorder())
    page = await visit(served.port, permissions=["clipboard-read", "clipboard-write"])
    await run(page, "invoke")
    await open_tab(page, "Code")
    await expect(page.locator("#curl")).to_be_visible()
    await page.get_by_role("tab", name="curl").press("ArrowRight")
    await expect(page.get_by_role("tab", name="Python", selected=True)).to_be_focused()
    panel = page.get_by_role("tabpanel", name="Python")
    await expect(panel).to_contain_text("pip install dockrion")
    await assert_accessible(page)
    await panel.get_by_role("button", name="Copy").click()
    shown = await page.locator("#python").inner_text()
    assert await page.evaluate("navigator.clipboard.readText()") == shown
    await expect(page.locator("#curl")).to_be_hidden()
