"""The page of the guide that chats by useChat of the Vercel AI SDK, on an origin of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import expect

from tests.browser.conftest import Visit, in_one_loop
from tests.conftest import Serve
from tests.guide.pages import blocks, page
from tests.interop import node

GUIDE = page("vercel-ai-sdk")
MAIN = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import Chat from "./chat.jsx";

createRoot(document.getElementById("root")).render(createElement(Chat, { id: location.hash }));
"""
HTML = """<!doctype html>
<html lang="en"><link rel="icon" href="data:,"><div id="root"></div><script src="page.js"></script>
"""


@in_one_loop
async def website(tmp_path: Path) -> AsyncIterator[TestServer]:
    """Serve the page, once it is built."""

    async def html(_: web.Request) -> web.Response:
        return web.Response(text=HTML, content_type="text/html")

    async def script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(tmp_path / "page.js")

    app = web.Application()
    app.router.add_get("/", html)
    app.router.add_get("/page.js", script)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


async def build(folder: Path, service: str) -> None:
    """Bundle the page for a service."""
    (source,) = blocks(GUIDE, "jsx")
    (folder / source.file_name).write_text(source.text.replace("http://localhost:8092", service))
    (folder / "main.js").write_text(MAIN)
    node.executable()
    (folder / "node_modules").symlink_to(node.MODULES)
    esbuild = folder / "node_modules/esbuild/bin/esbuild"
    options = ("--bundle", f"--outfile={folder / 'page.js'}", "--jsx=automatic", "--preserve-symlinks")
    await node.output(esbuild, folder / "main.js", *options)


def code() -> tuple[Any, dict[str, Any]]:
    """Return the agent of the page, and its Dockfile."""
    (agent,), (dockfile,) = blocks(GUIDE, "python"), blocks(GUIDE, "yaml")
    names: dict[str, Any] = {}
    exec(agent.text, names)
    return names["answer"], yaml.safe_load(dockfile.text)


async def test_page_of_the_guide_chats_is_reloaded_and_stops(
    serve: Serve, visit: Visit, website: TestServer, tmp_path: Path
) -> None:
    answer, sections = code()
    sections["expose"]["cors"]["origins"] = [str(website.make_url("")).rstrip("/")]
    sections.pop("agent")
    served = await serve(answer, **sections)
    await build(tmp_path, f"http://127.0.0.1:{served.port}")
    assert website.port
    tab = await visit(website.port, "#chat")
    question, ask = tab.get_by_label("Question"), tab.get_by_role("button", name="Ask")
    reply = tab.get_by_role("article", name="assistant").last
    await question.fill("Rome")
    await ask.click()
    await expect(reply.get_by_text("The archive may know about Rome.")).to_be_visible()
    await expect(reply.get_by_role("button", name="Yes")).to_be_enabled()
    await tab.reload()
    await reply.get_by_role("button", name="Yes").click()
    await expect(reply.get_by_text("I have found: It was not built in a day.")).to_be_visible()
    await expect(reply.get_by_text('look_up: "It was not built in a day."')).to_be_visible()
    await expect(reply.get_by_role("button", name="Yes")).to_be_disabled()
    await expect(ask).to_be_enabled()
    await question.fill("Paris")
    await ask.click()
    await expect(reply.get_by_text("The archive may know about Paris.")).to_be_visible()
    await tab.get_by_role("button", name="Stop").click()
    await expect(ask).to_be_enabled()
    await expect(tab.get_by_role("alert")).to_have_count(0)
    runs = [await served.finished(run_id) for run_id in served.backend._logs]
    assert [run["status"] for run in runs] == ["completed", "cancelled"]
