"""What goes wrong when an agent is opened or closed, and what is closed all the same."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dockrion.agents import lifespan
from tests.agents.lifespan_code import HOOKS, SAID, Code
from tests.support import wait_until


async def at_once(hook: Callable[[], Any], _name: str) -> Any:
    """Call a hook in this thread, so that it begins before its time is over, however busy the machine is."""
    return hook()


async def test_failing_task_of_the_agent_closes_it_and_is_logged(
    code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    code.write(
        f"""{HOOKS}
fails = asyncio.Event()
@asynccontextmanager
async def make():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        yield Agent()

async def work():
    await fails.wait()
    raise ValueError("connection lost")
""",
        "make",
    )
    kept_open = code.lifespan()
    await kept_open.agent()
    assert not kept_open.broken
    code.module.fails.set()
    await wait_until(lambda: kept_open.broken)
    await wait_until(lambda: code.said == ["startup", "shutdown"])
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "agent closed before the service",
        "agent shutdown failed",
    ]
    assert "connection lost" in caplog.text
    await kept_open.aclose()


FAILING_STARTUPS = {
    "raise ValueError('no\\nway')": "raised ValueError: no way",
    "raise SystemExit(3)": "raised SystemExit: 3",
    "raise asyncio.CancelledError": "raised CancelledError: ",
    "raise TimeoutError('slow')": "raised TimeoutError: slow",
    "await asyncio.Event().wait()": "has not returned within 0.05 s",
    "await asyncio.to_thread(release.wait)": "has not returned within 0.05 s",
}


@pytest.mark.parametrize("statement", FAILING_STARTUPS)
async def test_failing_startup_ends_the_start_with_one_line(
    code: Code, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "within" in FAILING_STARTUPS[statement]:
        monkeypatch.setattr(lifespan, "in_thread", at_once)
        monkeypatch.setattr(lifespan, "STARTUP_SECONDS", 0.05)
    code.write(HOOKS.replace('say("startup")', statement))
    expected = f"agent.handler: module 'agent': startup() {FAILING_STARTUPS[statement]}"
    assert await code.refused() == expected.strip()
    assert code.said == []
    assert await code.errors() == []  # `validate` does not run it


async def test_property_that_raises_ends_the_start_with_one_line(code: Code) -> None:
    code.write(
        f"""{HOOKS}
class Opened(Agent):
    @property
    def startup(self): raise ValueError("no")
def make(): return Opened()
""",
        "make",
    )
    assert (await code.refused()).endswith("what agent:make() returned: startup raised ValueError: no")
    assert code.said == ["startup", "shutdown"]


async def test_start_that_the_agent_cancels_ends_with_one_line(code: Code) -> None:
    code.write(
        f"""{HOOKS}
class Opened(Agent):
    async def startup(self):
        self.tasks = await asyncio.TaskGroup().__aenter__()
        self.tasks.create_task(self.fail())
        await asyncio.Event().wait()
    async def fail(self): raise ValueError("no way")
def make(): return Opened()
""",
        "make",
    )
    assert (await code.refused()).startswith("the agent has cancelled its own start, ")
    assert code.said == ["startup", "shutdown"]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("def make(): raise ValueError('no')", "agent:make() raised ValueError: no"),
        ("def make(): return 5", "agent:make cannot be used: int has no method `invoke` or `ainvoke`"),
        (
            (
                "class make(Agent):\n"
                "    async def __aenter__(self): raise ValueError('no')\n"
                "    async def __aexit__(self, *_): ..."
            ),
            "__aenter__() raised ValueError: no",
        ),
    ],
)
async def test_what_was_opened_is_closed_when_a_later_step_of_the_start_fails(
    code: Code, factory: str, message: str
) -> None:
    code.write(f"{HOOKS}\n{factory}\n", "make")
    assert message in await code.refused()
    assert code.said == ["startup", "shutdown"]


async def test_start_that_is_stopped_cancels_startup_and_closes_what_is_open(code: Code) -> None:
    code.write(
        f"""{HOOKS}
@asynccontextmanager
async def make():
    try:
        say("enter")
        await asyncio.Event().wait()
    finally:
        say("interrupted")
    yield Agent()
""",
        "make",
    )
    kept_open = code.lifespan()
    await wait_until(lambda: "enter" in code.said)
    await kept_open.aclose()
    assert code.said == ["startup", "enter", "interrupted", "shutdown"]
    assert not kept_open.broken


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("raise ValueError('no')", "agent shutdown failed"),
        ("raise SystemExit", "agent shutdown failed"),
        ("await asyncio.Event().wait()", "agent shutdown takes too long"),
        ("await asyncio.to_thread(release.wait)", "agent shutdown takes too long"),
    ],
)
async def test_failing_shutdown_is_logged_and_the_rest_is_closed(
    code: Code,
    statement: str,
    line: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifespan, "in_thread", at_once)
    monkeypatch.setattr(lifespan, "SHUTDOWN_SECONDS", 0.05)
    code.write(
        f"""{HOOKS}
class Opened(Agent):
    async def shutdown(self): {statement}
def make(): return Opened()
""",
        "make",
    )
    assert await code.live() == ["startup", "run", "shutdown"]
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.getMessage() == line
    assert record.fields["what"].endswith(":make() returned: shutdown()")  # type: ignore[attr-defined]


async def test_shutdown_that_does_not_end_is_abandoned(
    code: Code, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan, "in_thread", at_once)
    monkeypatch.setattr(lifespan, "SHUTDOWN_SECONDS", 0.02)
    monkeypatch.setattr(lifespan, "STOP_SECONDS", 0.05)
    code.write(f"""{SAID}
async def shutdown():
    while not release.is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            pass
""")
    kept_open = code.lifespan()
    await kept_open.agent()
    await kept_open.aclose()
    assert "agent does not close" in caplog.text
    code.module.release.set()


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        ("def startup(app): ...", "startup() is called without arguments"),
        ("async def shutdown(*, force): ...", "shutdown() is called without arguments"),
        ("async def startup(): yield", "startup() yields"),
        ("def shutdown(): yield", "shutdown() yields"),
    ],
)
async def test_function_that_cannot_be_called_is_refused_also_by_validate(
    code: Code, hook: str, reason: str
) -> None:
    for target, rest in (("handle", ""), ("make", "def make(): return Agent()")):
        code.write(f"{SAID}\n{hook}\n{rest}\n", target)
        sys.modules.pop(code.name, None)
        message = await code.refused()
        assert reason in message
        assert await code.errors() == [message]
