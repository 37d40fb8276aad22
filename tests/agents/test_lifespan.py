"""What agents open at start and close at the end: `startup`, `shutdown` and async context managers."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dockrion.agents import lifespan
from dockrion.agents.lifespan import Lifespan
from dockrion.agents.loading import check_agent, load_agent
from dockrion.errors import StartError
from tests.agents.harness import bench
from tests.support import dockfile, wait_until

SAID = """
import asyncio, threading
from contextlib import asynccontextmanager

said = []
release = threading.Event()

def say(what):
    said.append(what)

async def handle(payload):
    say("run")
    return payload

class Agent:
    invoke = staticmethod(lambda payload: say("run") or payload)
"""
HOOKS = (
    SAID
    + """
async def startup():
    say("startup")

async def shutdown():
    say("shutdown")
"""
)


class Code:
    """A module beside a Dockfile, and what it said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"agent_{uuid4().hex}"

    def write(self, source: str, target: str = "handle", framework: str = "custom") -> None:
        (self._folder / f"{self.name}.py").write_text(source)
        field = "handler" if target == "handle" else "entrypoint"
        spec = {"name": "tested", field: f"{self.name}:{target}", "framework": framework}
        self.dockfile = dockfile(self._folder, {"agent": spec}).dockfile

    def lifespan(self) -> Lifespan:
        return Lifespan(partial(load_agent, self.dockfile, self._folder))

    async def live(self) -> list[str]:
        """Open the agent, let it work once, and close it; return what it said."""
        kept_open = self.lifespan()
        async with bench(await kept_open.agent()) as runs:
            await runs.run()
        await kept_open.aclose()
        return self.said

    async def refused(self) -> str:
        """Return the message of the start that fails."""
        kept_open = self.lifespan()
        with pytest.raises(StartError) as caught:
            await kept_open.agent()
        await kept_open.aclose()
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(self.name, "agent")

    async def errors(self) -> list[str]:
        """Return what `dockrion validate` would print."""
        errors = (await check_agent(self.dockfile, self._folder)).errors
        return [line.replace(self.name, "agent") for line in errors]

    @property
    def module(self) -> Any:
        return sys.modules[self.name]

    @property
    def said(self) -> list[str]:
        said: list[str] = self.module.said
        return said


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Code]:
    before = list(sys.path)
    written = Code(tmp_path)
    yield written
    sys.path[:] = before
    if module := sys.modules.pop(written.name, None):
        module.release.set()


OPENED = {
    "async functions of a handler's module": (HOOKS, "handle"),
    "sync functions of a handler's module": (HOOKS.replace("async def s", "def s"), "handle"),
    "functions of a factory's module": (HOOKS + "def make(): say('factory'); return Agent()", "make"),
    "methods of a factory's object": (
        f"""{SAID}
class Opened(Agent):
    async def startup(self): say("startup")
    def shutdown(self): say("shutdown")
def make(): say("factory"); return Opened()
""",
        "make",
    ),
    "an async context manager": (
        f"""{SAID}
class Opened(Agent):
    async def __aenter__(self): say("startup")
    async def __aexit__(self, *error): assert error == (None,) * 3; say("shutdown")
    def shutdown(self): say("never")
async def make(): say("factory"); return Opened()
""",
        "make",
    ),
    "a factory that is an async context manager": (
        f"""{SAID}
@asynccontextmanager
async def make():
    say("startup")
    yield Agent()
    say("shutdown")
""",
        "make",
    ),
}
GRAPH = f"""{SAID}
from langgraph.graph import START, MessagesState, StateGraph

@asynccontextmanager
async def make():
    say("startup")
    graph = StateGraph(dict)
    graph.add_node("work", lambda state: say("run"))
    graph.add_edge(START, "work")
    yield graph.compile()
    say("shutdown")
"""


@pytest.mark.parametrize("kind", OPENED)
async def test_agent_is_opened_before_its_first_run_and_closed_after_its_last(code: Code, kind: str) -> None:
    code.write(*OPENED[kind])
    said = await code.live()
    assert [each for each in said if each != "factory"] == ["startup", "run", "shutdown"]


async def test_graph_is_opened_by_a_factory_that_is_an_async_context_manager(code: Code) -> None:
    code.write(GRAPH.replace("StateGraph(dict)", "StateGraph(MessagesState)"), "make", "langgraph")
    kept_open = code.lifespan()
    async with bench(await kept_open.agent()) as runs:
        await runs.run({"messages": []})
    await kept_open.aclose()
    assert code.said == ["startup", "run", "shutdown"]


async def test_module_is_opened_before_its_factory_and_closed_after_the_object(code: Code) -> None:
    code.write(
        f"""{HOOKS}
@asynccontextmanager
async def make():
    say("enter")
    yield Agent()
    say("exit")
""",
        "make",
    )
    assert await code.live() == ["startup", "enter", "run", "exit", "shutdown"]


async def test_startup_and_shutdown_are_one_task_on_the_loop_of_the_runs(code: Code) -> None:
    code.write(f"""{SAID}
tasks = []
async def startup():
    tasks.append((asyncio.get_running_loop(), asyncio.current_task()))
async def shutdown():
    tasks.append((asyncio.get_running_loop(), asyncio.current_task()))
""")
    await code.live()
    opened, closed = code.module.tasks
    assert opened == closed
    assert opened[0] is asyncio.get_running_loop()


async def test_task_that_startup_has_started_works_until_the_end(code: Code) -> None:
    code.write(
        f"""{SAID}
@asynccontextmanager
async def make():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        yield Agent()
        task.cancel()

async def work():
    say("started")
    try:
        await asyncio.Event().wait()
    finally:
        say("ended")
""",
        "make",
    )
    assert await code.live() == ["started", "run", "ended"]


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
        monkeypatch.setattr(lifespan, "STARTUP_SECONDS", 0.05)
    code.write(HOOKS.replace('say("startup")', statement))
    expected = f"agent.handler: module 'agent': startup() {FAILING_STARTUPS[statement]}"
    assert await code.refused() == expected.strip()
    assert code.said == []
    assert await code.errors() == []  # `validate` does not run it


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
    await wait_until(lambda: code.name in sys.modules and "enter" in code.said)
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


async def test_other_things_of_these_names_are_ignored(code: Code) -> None:
    code.write(f"{SAID}\nstartup = 'text'\nshutdown = None\n")
    assert await code.live() == ["run"]


async def test_names_that_a_proxy_makes_up_are_not_called(code: Code) -> None:
    code.write(
        f"""{SAID}
class Proxy(Agent):
    def __getattr__(self, name):
        if name in ("startup", "shutdown"):
            return lambda: say(name)
        raise AttributeError(name)
make = Proxy
""",
        "make",
    )
    assert await code.live() == ["run"]


async def test_remote_agent_is_closed_with_the_service(tmp_path: Path) -> None:
    spec = {"name": "tested", "url": "http://127.0.0.1:1/"}
    kept_open = Lifespan(partial(load_agent, dockfile(tmp_path, {"agent": spec}).dockfile, tmp_path))
    agent: Any = await kept_open.agent()
    await kept_open.aclose()
    assert agent._agent._session.closed
