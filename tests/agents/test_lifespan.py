"""What agents open at start and close at the end: `startup`, `shutdown` and async context managers."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dockrion.agents.lifespan import Lifespan
from dockrion.agents.loading import load_agent
from tests.agents.harness import bench
from tests.agents.lifespan_code import HOOKS, SAID, Code
from tests.support import dockfile

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
    assert agent._server.endpoint._session.closed
