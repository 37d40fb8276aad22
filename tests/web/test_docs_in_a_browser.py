"""The API description's page in a real Chromium, without any other network."""

import asyncio
import os
import re
import signal
from pathlib import Path

from dockrion.openapi.document import openapi
from dockrion.web.routes import routes
from tests.browser.chromium import executable
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", OFFLINE]


async def shown(url: str, folder: Path) -> tuple[str, str]:
    """Return the DOM of a page in a browser, and the browser's log."""
    process = await asyncio.create_subprocess_exec(
        executable(),
        *OPTIONS,
        f"--user-data-dir={folder}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS * 6):
            document, logged = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return document.decode(), logged.decode(errors="replace")


async def test_every_operation_is_shown(serve: Serve, tmp_path: Path) -> None:
    served = await serve()
    document, logged = await shown(str(served.client.make_url("/docs")), tmp_path / "browser")
    dockfile = served.service.dockfile
    described = openapi(dockfile, [route.endpoint for route in routes(dockfile)])
    paths = re.findall(r'class="opblock-summary-path" data-path="([^"]+)"', document)
    assert sorted(paths) == sorted(path for path, methods in described["paths"].items() for _ in methods)
    assert "Content Security Policy" not in logged
    assert "CONSOLE" not in logged


async def test_page_requests_a_key_if_one_is_required(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    served = await serve(auth={"mode": "api_key"})
    document, _ = await shown(str(served.client.make_url("/docs")), tmp_path / "browser")
    assert re.search(r'<form id="sign-in"(?![^>]* hidden)[^>]* data-header="X-API-Key"', document)
    assert "opblock" not in document


async def test_page_that_is_public_requests_no_key(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    served = await serve(auth={"public": ["docs"]})
    document, logged = await shown(str(served.client.make_url("/docs")), tmp_path / "browser")
    assert re.search(r'<form id="sign-in"[^>]* hidden', document)
    assert 'data-path="/invoke"' in document
    assert "Authorize" in document  # where a reader who has a key enters it, to try a protected operation
    assert "CONSOLE" not in logged
