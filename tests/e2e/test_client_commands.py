"""`dockrion invoke` and `dockrion watch` as processes."""

import asyncio
import os
import pty
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.cli import main
from dockrion.console.screen import CLEAR_LINE
from tests.conftest import Serve
from tests.e2e.process import command, environment
from tests.guide.services import shell
from tests.support import Served, wait_until
from tests.web.helpers import Waits

KEY = "a-key-that-is-long-enough"
StartCommand = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[StartCommand]:
    """Start a command that uses a service: `await start(served, "invoke", …)`."""
    started: list[Process] = []

    async def start_command(
        served: Served, *arguments: str, stdout: int = PIPE, terminal: int = PIPE, **variables: str
    ) -> Process:
        process = await asyncio.create_subprocess_exec(
            *command(*arguments),
            env=environment(DOCKRION_URL=f"http://127.0.0.1:{served.port}", **variables),
            stdin=terminal,
            stdout=stdout,
            stderr=terminal,
        )
        started.append(process)
        return process

    yield start_command
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def done(process: Process, stdin: bytes | None = None) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def read_until(process: Process, text: bytes) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return await process.stdout.readuntil(text)


async def test_text_is_printed_as_it_arrives_and_the_output_at_the_end(
    serve: Serve, start: StartCommand
) -> None:
    served = await serve(agent := Waits())
    process = await start(served, "invoke", "-")
    assert process.stdin is not None
    process.stdin.write(b'{"n": 1}')
    process.stdin.write_eof()
    assert await read_until(process, b"first") == b"first"
    agent.go.set()
    assert await done(process) == (0, 'last\n{\n  "done": true\n}\n', "")
    assert agent.payloads == [{"n": 1}]


async def test_json_output_is_the_service_s_and_watch_repeats_it(serve: Serve, start: StartCommand) -> None:
    served = await serve()
    code, first, err = await done(await start(served, "invoke", "--json", '{"n": 1}'))
    assert (code, err) == (0, "")
    run_id = first.partition('"run_id":"')[2].partition('"')[0]
    async with served.events(run_id) as reader:
        assert first.splitlines() == [message.data for message in await reader.all()]
    assert await done(await start(served, "watch", "--json", run_id)) == (0, first, "")


async def test_interrupt_cancels_the_run_and_reports_it(serve: Serve, start: StartCommand) -> None:
    served = await serve(agent := Waits())
    process = await start(served, "invoke")
    await read_until(process, b"first")
    process.send_signal(signal.SIGINT)
    code, out, err = await done(process)
    assert (code, out) == (1, "\n")
    cancelling, cancelled = err.splitlines()
    assert cancelling.startswith("cancelling run ")
    assert cancelled == "cancelled: interrupted by the caller"
    assert agent.stopped


async def test_interrupt_of_watch_does_not_affect_the_run(serve: Serve, start: StartCommand) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    process = await start(served, "watch", run_id)
    await read_until(process, b"first")
    process.send_signal(signal.SIGINT)
    code, _, err = await done(process)
    assert (code, err) == (130, f"stopped; to continue: dockrion watch {run_id}\n")
    agent.go.set()
    assert (await served.finished(run_id))["status"] == "completed"


async def test_closed_stdout_cancels_the_run(serve: Serve, start: StartCommand) -> None:
    async def talk(_payload: Any, context: StreamContext) -> None:
        while True:
            await context.emit_token("word\n")
            await asyncio.sleep(0.01)

    served = await serve(talk)
    reading, writing = os.pipe()
    process = await start(served, "invoke", stdout=writing)
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 4) == b"word"
    os.close(reading)
    assert await done(process) == (1, "", "")
    await wait_until(lambda: not served.service.runs._in_flight)


async def test_failing_stdout_is_reported(serve: Serve, start: StartCommand) -> None:
    served = await serve()
    with Path("/dev/full").open("wb") as full:
        process = await start(served, "invoke", "--json", stdout=full.fileno())
        assert await done(process) == (1, "", "cannot write: No space left on device\n")


async def test_terminal_gets_progress_bars(serve: Serve, start: StartCommand) -> None:
    async def work(_payload: Any, context: StreamContext) -> None:
        await context.emit_progress("work", 0.5, "half")
        await context.emit_token("word")
        await context.emit_progress("work", 1.0, "done")

    served = await serve(work)
    ours, theirs = pty.openpty()
    process = await start(served, "invoke", stdout=theirs, COLUMNS="80")
    os.close(theirs)
    code, _, err = await done(process)
    assert (code, err) == (0, "")
    shown = await read_terminal(ours)
    os.close(ours)
    half, full = f"[{'#' * 10}{'.' * 10}]  50% work: half", f"[{'#' * 20}] 100% work: done"
    assert shown == f"{half}{CLEAR_LINE}word\n{full}\nnull\n"


async def test_piped_lines_answer_what_the_agent_asks(serve: Serve, start: StartCommand) -> None:
    async def ask(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("Send it?", {"type": "boolean"})

    process = await start(await serve(ask), "invoke")
    code, out, err = await done(process, b"maybe\nyes\n")
    assert (code, out) == (0, "* answered: true\ntrue\n")
    assert err.startswith("? Send it?\n  (yes or no; until ")
    assert '\n! the value does not match the schema of the question\n  $: "maybe" is not' in err


async def test_without_a_user_the_command_that_answers_is_shown(
    serve: Serve, start: StartCommand, tmp_path: Path
) -> None:
    async def ask(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("It's sent?", {"const": "it's"})

    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(ask, auth={"mode": "api_key"})
    process = await start(served, "invoke", "--token-env", "KEY", "--header", f"X-Note: {KEY}", KEY=KEY)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.close()
    shown = (await asyncio.wait_for(process.stderr.readuntil(b"/input\n"), 60)).decode()
    assert KEY not in shown
    command = shown.partition("to answer: ")[2]
    assert '"status":"accepted"' in await asyncio.to_thread(shell, command, tmp_path, DOCKRION_KEY=KEY)
    code, out, _ = await done(process)
    assert (code, out.splitlines()[-1]) == (0, '"it\'s"')


async def test_interrupt_cancels_the_run_while_the_terminal_is_asked(
    serve: Serve, start: StartCommand
) -> None:
    async def ask(_payload: Any, context: StreamContext) -> Any:
        return [await context.ask("One?"), await context.ask("Two?", secret=True)]

    ours, theirs = pty.openpty()
    process = await start(await serve(ask), "invoke", terminal=theirs)
    os.close(theirs)
    seen = await read_terminal(ours, "One? > ")
    os.write(ours, b"first\n")
    seen += await read_terminal(ours, "Two? > ")
    process.send_signal(signal.SIGINT)
    seen += await read_terminal(ours, "cancelled: interrupted by the caller\n")
    assert await done(process) == (1, '* answered: "first"\n', "")
    os.close(ours)
    assert "cancelling run " in seen


async def read_terminal(descriptor: int, until: str | None = None) -> str:
    """Return what is shown up to a text, or to the end: what is written at once may arrive in parts."""
    text = ""
    os.set_blocking(descriptor, False)
    async with asyncio.timeout(60):
        while until is None or until not in text:
            try:
                text += os.read(descriptor, 65536).decode().replace("\r\n", "\n")
            except BlockingIOError:
                await asyncio.sleep(0.005)
            except OSError:  # the terminal has no more users
                if until is None:
                    return text
                raise
    return text


async def test_key_is_read_from_a_variable_and_never_shown(
    serve: Serve, start: StartCommand, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(auth={"mode": "api_key"})
    processes = [
        await start(served, "invoke", "--token-env", "KEY", KEY=KEY),
        await start(served, "invoke", "--header", f"X-API-Key: {KEY}x"),
    ]
    right, wrong = [await done(process) for process in processes]
    assert right == (0, "{}\n", "")
    assert wrong[:2] == (1, "")
    assert "HTTP 401 AUTH_ERROR" in wrong[2]
    assert KEY not in wrong[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "words"],
        ["invoke", "--url", "ftp://nowhere"],
        ["invoke", "--token-env", "NOT_SET"],
        ["invoke", "--header", "a-secret"],
        ["watch"],
        ["watch", "../x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_clients_exits_with_two(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: dockrion")
    assert "a-secret" not in error


def test_unreachable_service_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "--url", "http://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err == "cannot reach http://127.0.0.1:1: Connection refused\n"
