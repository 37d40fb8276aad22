"""`dockrion run --reload`: the loop of changing an agent."""

import asyncio
import signal
import stat
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.e2e.process import START_SECONDS, TIMEOUT_SECONDS, run, write_dockfile
from tests.e2e.reloading import loop, returns
from tests.e2e.terminal import CTRL_C, terminal
from tests.support import wait_until


async def test_saved_files_change_the_answer_and_no_request_is_refused(tmp_path: Path) -> None:
    async with loop(tmp_path, returns("one")) as running:
        await running.until_answer("one")
        port = int(running.shown.url.rpartition(":")[2])

        async def connect_again_and_again() -> None:
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await asyncio.sleep(0.01)

        connecting = asyncio.create_task(connect_again_and_again())
        first = (await running.get("/ready"))[1]["instance"]
        (tmp_path / "agent.py").write_text(returns("two"))
        await running.until_answer("two")
        assert (await running.get("/ready"))[1]["instance"] != first
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "words.py").write_text("import os\nWORD = os.environ['WORD']\n")
        (tmp_path / ".env").write_text("WORD=three")
        (tmp_path / "saved").write_text(
            "from parts.words import WORD\ndef handle(payload):\n    return WORD\n"
        )
        (tmp_path / "saved").rename(tmp_path / "agent.py")
        await running.until_answer("three")
        (tmp_path / "parts" / "words.py").write_text("WORD = 'four'")
        await running.until_answer("four")
        (tmp_path / "other.py").write_text(returns("five"))
        dockfile = yaml.safe_load((tmp_path / "Dockfile.yaml").read_text())
        dockfile["agent"]["handler"] = "other:handle"
        (tmp_path / "Dockfile.yaml").write_text(yaml.safe_dump(dockfile))
        await running.until_answer("five")
        assert not connecting.done()
        connecting.cancel()
        await running.shown.until("reloading: agent.py\n", "reloading: Dockfile.yaml")
        assert running.shown.text.count("Press Ctrl-C") == 1


async def test_broken_file_is_explained_in_the_terminal_and_the_page_until_it_is_mended(
    tmp_path: Path,
) -> None:
    async with loop(tmp_path, "def handle(\n") as running:  # from the start
        await running.until_answer("SyntaxError")
        assert (await running.get("/ready"))[0] == 503
        reason = (await running.get("/ready"))[1]["error"]
        assert "failed at agent.py:1: SyntaxError" in reason
        await running.shown.until("agent cannot be loaded: ", "SyntaxError: '(' was never closed\n")
        async with aiohttp.ClientSession() as session, session.get(f"{running.shown.url}/") as page:
            assert (page.status, page.content_type) == (200, "text/html")
        (tmp_path / "agent.py").write_text(returns("mended"))
        await running.until_answer("mended")
        right = (tmp_path / "Dockfile.yaml").read_text()
        (tmp_path / "Dockfile.yaml").write_text(f"{right}streaming: {{events: {{heartbeat_interval: 0}}}}\n")
        await running.until_answer("streaming.events.heartbeat_interval: expected 1")
        await running.shown.until("heartbeat_interval: expected 1")
        (tmp_path / "Dockfile.yaml").write_text(right)
        await running.until_answer("mended")
        (tmp_path / "agent.py").write_text("import os\nos._exit(3)\n")
        await running.until_answer("the agent ended its process: exit code 3")
        (tmp_path / "agent.py").write_text(returns("again"))
        await running.until_answer("again")
        running.shown.type(CTRL_C)
        assert await running.shown.exit_code() == 0
        await running.shown.until_end("stopped\n")


WAITS = "import asyncio\nasync def handle(payload):\n    await asyncio.Event().wait()\n"


async def test_run_at_work_ends_with_shutdown_soon_after_the_save(tmp_path: Path) -> None:
    async with loop(tmp_path, WAITS) as running:
        await running.shown.until("ready in")
        url = f"{running.shown.url}/invoke/stream"
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
            await response.content.readuntil(b"started")
            (tmp_path / "agent.py").write_text(returns("new"))
            assert b'"code":"SHUTDOWN"' in await response.content.read()
        await running.shown.until("waiting up to 500 ms for 1 run to end: ")
        await running.until_answer("new")


async def test_every_process_ends_whatever_happens(tmp_path: Path) -> None:
    async with loop(tmp_path, WAITS) as running:
        await running.shown.until("ready in")
        async with aiohttp.ClientSession() as session, session.post(f"{running.shown.url}/runs", json={}):
            await running.shown.until("started")
        await wait_until(lambda: len(running.processes()) == 2)  # one serves, the next one waits
        workers = running.processes()
        running.shown.popen.send_signal(signal.SIGKILL)
        await running.shown.exit_code()
        await wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), TIMEOUT_SECONDS)


async def test_second_ctrl_c_ends_an_agent_that_blocks(tmp_path: Path) -> None:
    code = "import time\nasync def handle(payload):\n    open('blocks', 'w').close()\n    time.sleep(60)\n"
    async with loop(tmp_path, code) as running:
        await running.shown.until("ready in")
        await wait_until(lambda: len(running.processes()) == 2)
        workers = running.processes()
        blocked = asyncio.create_task(running.answer())
        await wait_until((tmp_path / "blocks").exists)
        running.shown.type(CTRL_C)
        await running.shown.until("stopping")
        running.shown.type(CTRL_C)
        assert await running.shown.exit_code() == 128 + signal.SIGINT
        await wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        with pytest.raises(aiohttp.ClientError):
            await blocked


def test_several_workers_are_refused_in_one_line(tmp_path: Path) -> None:
    result = run("run", write_dockfile(tmp_path), "--reload", "--workers=2", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "--reload serves with one process: leave out --workers, or --reload\n"


def test_missing_package_is_named_in_one_line(tmp_path: Path) -> None:
    write_dockfile(tmp_path)
    code = (
        "import sys\nsys.modules['watchfiles'] = None\n"
        "from dockrion.cli import main\nsys.exit(main(['run', '--reload']))\n"
    )
    (tmp_path / "without.py").write_text(code)
    result = run(cwd=tmp_path, module="without")
    assert result.returncode == 1
    assert result.stderr == "--reload needs the package watchfiles: pip install 'dockrion[dev-server]'\n"


@pytest.mark.parametrize("reload", [True, False])
async def test_page_is_opened_once_when_the_agent_is_ready(tmp_path: Path, reload: bool) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path / "opened"}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    path = write_dockfile(tmp_path, returns("one"))
    arguments = ["--open", *(["--reload"] if reload else [])]
    with terminal(tmp_path, path, "--port=0", *arguments, BROWSER=str(browser)) as shown:
        await shown.until("ready in")
        await wait_until((tmp_path / "opened").exists, START_SECONDS)
        await wait_until(lambda: (tmp_path / "opened").read_text() == f"{shown.url}/\n")
        if reload:
            (tmp_path / "agent.py").write_text(returns("two"))
            await wait_until(lambda: shown.text.count("ready in") == 2, START_SECONDS)
            assert (tmp_path / "opened").read_text() == f"{shown.url}/\n"


async def test_service_serves_where_there_is_no_browser(tmp_path: Path) -> None:
    path = write_dockfile(tmp_path, returns("one"))
    with terminal(tmp_path, path, "--port=0", "--open", PATH=str(tmp_path), BROWSER="nowhere") as shown:
        await shown.until("ready in")
        async with aiohttp.ClientSession() as session, session.get(f"{shown.url}/ready") as response:
            assert response.status == 200
            assert "instance" not in await response.json()
