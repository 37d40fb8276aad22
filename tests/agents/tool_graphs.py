"""Two tools, one of them denied, and the ways in which a node of a graph can call one."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langgraph.func import task

from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.graphs import State, one_node

FORBIDDEN, ALLOWED = "erase", "look"
ONLY_LOOKING = ToolPolicy([ALLOWED])
GIVEN = {"at": 1}


@dataclass
class Toolbox:
    """Tools that record their calls.

    Attributes:
        done: The names of the tools whose own code has run.
    """

    asynchronous: bool = False
    done: list[str] = field(default_factory=list)

    def make(self, name: str) -> BaseTool:
        @tool(name)
        def work(at: int) -> str:
            """Do what it is called."""
            self.done.append(name)
            return f"{name} {at}"

        @tool(name)
        async def async_work(at: int) -> str:
            """Do what it is called."""
            self.done.append(name)
            return f"{name} {at}"

        return async_work if self.asynchronous else work

    @property
    def both(self) -> list[BaseTool]:
        return [self.make(ALLOWED), self.make(FORBIDDEN)]


def wants(*names: str) -> AIMessage:
    """Return a message that calls tools."""
    calls: Any = [{"name": name, "args": GIVEN, "id": f"c{index}"} for index, name in enumerate(names)]
    return AIMessage(content="", tool_calls=calls)


def requests_of(events: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Return the tools that a model requested, and whether the result of each is an error."""
    calls = {event["tool_call_id"]: event["name"] for event in events if event["type"] == "tool_call"}
    results = {event["tool_call_id"]: event for event in events if event["type"] == "tool_result"}
    return [(name, results[call_id]["is_error"]) for call_id, name in calls.items()]


Way = Callable[[BaseTool], Any]


def _chain(called: BaseTool) -> Any:
    return RunnablePassthrough() | called


def _in_a_thread(work: Callable[[], Any]) -> None:
    raised: list[BaseException] = []

    def noting() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=noting)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _in_a_pool(called: BaseTool) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(called.invoke, GIVEN).result()


SYNC_WAYS: dict[str, Way] = {
    "invoke": lambda called: called.invoke(GIVEN),
    "a call of a model": lambda called: called.invoke(wants(called.name).tool_calls[0]),
    "no handlers": lambda called: called.invoke(GIVEN, {"callbacks": []}),
    "handlers of its own": lambda called: called.invoke(GIVEN, {"callbacks": [BaseCallbackHandler()]}),
    "another name": lambda called: called.invoke(GIVEN, {"run_name": ALLOWED}),
    "run": lambda called: called.run(GIVEN),
    "batch": lambda called: called.batch([GIVEN, GIVEN]),
    "stream": lambda called: list(called.stream(GIVEN)),
    "a chain": lambda called: _chain(called).invoke(GIVEN),
    "side by side": lambda called: RunnableParallel(a=called, b=called).invoke(GIVEN),
    "retried": lambda called: called.with_retry(wait_exponential_jitter=False).invoke(GIVEN),
    "inside a chain that is a function": lambda called: RunnableLambda(called.invoke).invoke(GIVEN),
    "a thread": lambda called: _in_a_thread(lambda: called.invoke(GIVEN)),
    "a loop in a thread": lambda called: _in_a_thread(lambda: asyncio.run(called.ainvoke(GIVEN))),
    "a pool": _in_a_pool,
}


async def _in_a_group(called: BaseTool) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(called.ainvoke(GIVEN))


async def _as_a_task(called: BaseTool) -> None:
    @task
    async def work() -> Any:
        return await called.ainvoke(GIVEN)

    await work()


async def _streamed(called: BaseTool) -> None:
    async for _ in called.astream(GIVEN):
        pass


ASYNC_WAYS: dict[str, Way] = {
    "ainvoke": lambda called: called.ainvoke(GIVEN),
    "no handlers": lambda called: called.ainvoke(GIVEN, {"callbacks": []}),
    "arun": lambda called: called.arun(GIVEN),
    "abatch": lambda called: called.abatch([GIVEN, GIVEN]),
    "astream": _streamed,
    "a chain": lambda called: _chain(called).ainvoke(GIVEN),
    "a group": _in_a_group,
    "a task of a graph": _as_a_task,
    "gathered": lambda called: asyncio.gather(called.ainvoke(GIVEN), called.ainvoke(GIVEN)),
    "to a thread": lambda called: asyncio.to_thread(called.invoke, GIVEN),
    "the loop's executor": lambda called: asyncio.get_running_loop().run_in_executor(
        None, called.invoke, GIVEN
    ),
}
# Those in which a thread does not know for which run it works.
OF_NO_RUN = {"a thread", "a loop in a thread", "a pool"}
NEEDS_SYNC = {"to a thread", "the loop's executor"}


def calling(way: Way, called: BaseTool, *, with_config: bool) -> Any:
    """Return a graph whose sync node calls a tool."""

    def work(_state: State) -> State:
        way(called)
        return {}

    def configured(state: State, config: RunnableConfig) -> State:
        return work(state) if config["configurable"] else {}

    return one_node(configured if with_config else work)


def calling_async(way: Way, called: BaseTool) -> Any:
    """Return a graph whose async node calls a tool."""

    async def work(_state: State) -> State:
        await way(called)
        return {}

    return one_node(work)
