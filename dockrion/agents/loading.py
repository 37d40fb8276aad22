"""From the Dockfile's `module.path:name` to an agent or a generator of run ids."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from dockrion.agents import lifespan, runnable_config
from dockrion.agents.handler import HandlerAgent, ObjectAgent
from dockrion.agents.handler_types import HandlerTypes, handler_types
from dockrion.agents.id_generator import CustomIdGenerator
from dockrion.agents.importing import THREAD, import_target, prepare_imports
from dockrion.dockfile import Dockfile
from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.errors import StartError
from dockrion.json_encoding import describe_error
from dockrion.runs.agent import Agent
from dockrion.threads import in_thread

_FRAMEWORK_PACKAGES = {"langgraph": "langgraph", "langchain": "langchain_core"}  # optional dependencies
_SIGNATURE = "it takes the payload, and may take the context"
_THREADS_IN_MEMORY = (
    "streaming.on_worker_lost: the graph's checkpoints are in the memory of one process, so that a run that "
    "begins again starts over; compile it with a checkpointer that all replicas reach, such as PostgresSaver"
)


async def load_agent(
    dockfile: Dockfile, directory: Path, opened: AsyncExitStack, *, token: str | None = None
) -> Agent:
    """Import the agent's code, open what it opens at start, and create the agent.

    Imports and factories run in a thread, since both may take long.

    Args:
        dockfile: Names the agent.
        directory: The Dockfile's directory, where modules are searched first.
        opened: Closes the agent, and what was opened for it.
        token: The value of `agent.token_env`, if any.

    Raises:
        StartError: The code is missing, broken, or not an agent.
    """
    if dockfile.agent.mode == "url":
        from dockrion.agents.remote import RemoteAgent  # noqa: PLC0415  memory: 0.4 MiB

        agent: Agent = RemoteAgent(dockfile, token)
    else:
        agent = await _load_code(dockfile, directory, opened)
    opened.push_async_callback(agent.aclose)
    return agent


async def _load_code(dockfile: Dockfile, directory: Path, opened: AsyncExitStack) -> Agent:
    spec = dockfile.agent
    if spec.mode == "handler":
        agent = await _load_handler(spec, directory)
        await lifespan.enter(_module(spec), _named(spec), opened)
        return agent
    factory = await _import_entrypoint(spec, directory)
    config = _parse_config(dockfile)
    return await _create_agent(dockfile, config, await _open_product(spec, factory, opened))


async def _load_handler(spec: AgentSpec, directory: Path) -> Agent:
    function = await import_target("agent.handler", spec.target, directory)
    lifespan.check_hooks(_module(spec), _named(spec))
    try:
        return HandlerAgent(function)
    except TypeError as error:
        raise _unusable(spec, error) from error


def _unusable(spec: AgentSpec, error: TypeError) -> StartError:
    return StartError(f"agent.{spec.mode}: {spec.target} cannot be used: {error}; {_SIGNATURE}")


async def _open_product(spec: AgentSpec, factory: Callable[[], Any], opened: AsyncExitStack) -> Any:
    """Open the module of a factory, call the factory, and open what it returns."""
    await lifespan.enter(_module(spec), _named(spec), opened)
    product = await _call_factory("agent.entrypoint", spec.target, factory)
    return await lifespan.enter(product, _named_product(spec), opened)


def _module(spec: AgentSpec) -> ModuleType | None:
    return sys.modules.get(spec.target.partition(":")[0])  # the module itself may have removed it


def _named(spec: AgentSpec) -> str:
    return f"agent.{spec.mode}: module {spec.target.partition(':')[0]!r}"


def _named_product(spec: AgentSpec) -> str:
    return f"agent.entrypoint: what {spec.target}() returned"


async def _create_agent(dockfile: Dockfile, config: dict[str, Any], product: Any) -> Agent:
    """Return the agent for what a factory returned."""
    spec = dockfile.agent
    if not (spec.takes_config and spec.framework):
        try:
            return ObjectAgent(product)
        except TypeError as error:
            raise _unusable(spec, error) from error
    module = await _import_framework(spec.framework)
    threads = dockfile.streaming.max_concurrent_runs
    try:
        agent: Agent = module.create_agent(product, config, threads=threads, arguments=dockfile.arguments)
    except ImportError as error:  # a graph needs LangGraph, whatever the framework
        raise _broken_framework(spec.framework, error) from error
    except TypeError as error:
        raise StartError(f"agent.entrypoint: {spec.target}() returned an unusable object: {error}") from error
    return agent


async def load_types(agent: Agent, dockfile: Dockfile) -> HandlerTypes:
    """Return the types that an agent's code declares, in a thread, since describing them may take long.

    Graphs and chat models have no types, but the schema of their messages.

    Args:
        agent: The agent.
        dockfile: Its schemas take precedence.
    """
    if not isinstance(agent, HandlerAgent | ObjectAgent):
        io_schema = dockfile.io_schema
        if io_schema.input is None:
            io_schema = msgspec.structs.replace(io_schema, input=agent.input_schema)
        forgets = agent.threads_in_memory and dockfile.streaming.on_worker_lost == "retry"
        return HandlerTypes(None, io_schema, [_THREADS_IN_MEMORY] if forgets else [])
    find_types = partial(handler_types, agent.callables, dockfile.io_schema)
    types: HandlerTypes = await in_thread(find_types, THREAD)
    where = f"agent.{dockfile.agent.mode}: {dockfile.agent.target}"
    return msgspec.structs.replace(types, problems=[f"{where}: {each}" for each in types.problems])


async def load_handler_types(dockfile: Dockfile, directory: Path) -> HandlerTypes:
    """Import the agent's code and return the types that it declares, without calling a factory.

    Args:
        dockfile: Names the code. Types of other agents than handlers are not known before they are loaded.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: The code is missing, broken, or not an agent.
    """
    if dockfile.agent.mode != "handler":
        return HandlerTypes(None, dockfile.io_schema)
    return await load_types(await _load_handler(dockfile.agent, directory), dockfile)


async def guard_tools(dockfile: Dockfile, directory: Path) -> None:
    """Guard LangChain's tools, if it is installed and the Dockfile denies any tool.

    Args:
        dockfile: Which tools the agent may call.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: LangChain is installed and broken.
    """
    prepare_imports(directory)
    if dockfile.allowed_tools is None or importlib.util.find_spec(_FRAMEWORK_PACKAGES["langchain"]) is None:
        return
    try:
        module = await in_thread(lambda: importlib.import_module("dockrion.agents.tool_guard"), THREAD)
    except ImportError as error:
        raise StartError(
            f"policies.tools: the tools of LangChain cannot be guarded: {describe_error(error)}"
        ) from error
    module.install()


async def load_id_generator(dockfile: Dockfile, directory: Path) -> CustomIdGenerator | None:
    """Import the custom generator of run ids; return None if there is none.

    Args:
        dockfile: Names the generator.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: The code is missing, broken, or cannot be called.
    """
    generator = dockfile.streaming.id_generator
    if generator.type != "custom" or generator.handler is None:
        return None
    field = "streaming.id_generator.handler"
    function = await import_target(field, generator.handler, directory)
    try:
        return CustomIdGenerator(function, dockfile.agent.name)
    except TypeError as error:
        hint = "it takes no argument, or one"
        raise StartError(f"{field}: {generator.handler} cannot be used: {error}; {hint}") from error


class Findings(msgspec.Struct, frozen=True):
    """What is wrong with the agent's code.

    Attributes:
        errors: Why it cannot be loaded, a line for each reason.
        warnings: What in it is ignored.
    """

    errors: list[str]
    warnings: list[str]


async def check_agent(dockfile: Dockfile, directory: Path) -> Findings:
    """Check that the agent's code can be loaded, without opening anything.

    A factory is called, unless its module has a `startup`, on which it may depend.

    Args:
        dockfile: Names the code.
        directory: The Dockfile's directory, where modules are searched first.
    """
    spec = dockfile.agent
    steps: list[Coroutine[Any, Any, Any]] = [
        guard_tools(dockfile, directory),
        load_id_generator(dockfile, directory),
    ]
    if spec.mode == "handler":
        steps.append(load_handler_types(dockfile, directory))
    elif spec.mode == "entrypoint":
        steps.append(_check_entrypoint(dockfile, directory))
    errors: list[str] = []
    warnings: list[str] = []
    for step in steps:
        try:
            loaded = await step
        except StartError as error:
            errors.append(str(error))
        else:
            warnings += loaded.problems if isinstance(loaded, HandlerTypes) else []
    return Findings(errors, warnings)


async def _check_entrypoint(dockfile: Dockfile, directory: Path) -> HandlerTypes | None:
    spec = dockfile.agent
    factory = await _import_entrypoint(spec, directory)
    lifespan.check_hooks(_module(spec), _named(spec))
    config = _parse_config(dockfile)
    if lifespan.has_startup(_module(spec), _named(spec)):  # without which the factory need not work
        if spec.takes_config and spec.framework:
            await _import_framework(spec.framework)
        return None
    product = await _call_factory("agent.entrypoint", spec.target, factory)
    if isinstance(product, AbstractAsyncContextManager):  # the agent is what it opens
        return None
    lifespan.check_hooks(product, _named_product(spec))
    agent = await _create_agent(dockfile, config, product)
    await agent.aclose()
    return await load_types(agent, dockfile)


def _parse_config(dockfile: Dockfile) -> dict[str, Any]:
    if not dockfile.agent.takes_config:
        return {}
    try:
        return runnable_config.parse(dockfile.arguments.config or {})
    except ValueError as error:
        raise StartError(f"arguments.config: {error}") from error


async def _import_framework(framework: str) -> ModuleType:
    """Import the module that makes agents of a framework, whose installed version may be too old."""
    name = f"dockrion.agents.{framework}"
    try:
        module: ModuleType = await in_thread(lambda: importlib.import_module(name), THREAD)
    except ImportError as error:
        raise _broken_framework(framework, error) from error
    return module


def _broken_framework(framework: str, error: ImportError) -> StartError:
    return StartError(f"agent.framework: {describe_error(error)}; pip install 'dockrion[{framework}]'")


async def _import_entrypoint(spec: AgentSpec, directory: Path) -> Callable[..., Any]:
    package = _FRAMEWORK_PACKAGES.get(spec.framework or "")
    if package is not None and importlib.util.find_spec(package) is None:
        hint = f"pip install 'dockrion[{spec.framework}]'"
        raise StartError(f"agent.framework: {spec.framework} is not installed; {hint}")
    return await import_target("agent.entrypoint", spec.target, directory)


async def _call_factory(field: str, target: str, factory: Callable[[], Any]) -> Any:
    try:
        product = await in_thread(factory, THREAD)
        return await product if inspect.isawaitable(product) else product
    except (Exception, SystemExit) as error:
        raise StartError(f"{field}: {target}() raised {describe_error(error)}") from error
