"""From the Dockfile's `module.path:name` to an agent or a generator of run ids."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dockrion
from dockrion.agents import runnable_config
from dockrion.agents.handler import HandlerAgent, ObjectAgent
from dockrion.agents.id_generator import CustomIdGenerator
from dockrion.dockfile import Dockfile
from dockrion.dockfile.problems import did_you_mean
from dockrion.dockfile.structs import AgentSpec
from dockrion.errors import StartError
from dockrion.json_encoding import safe_str
from dockrion.runs.agent import Agent
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.threads import in_thread

if TYPE_CHECKING:
    from dockrion.agents.tool_guard import ToolGuard

_FRAMEWORK_PACKAGES = {"langgraph": "langgraph", "langchain": "langchain_core"}  # optional dependencies
_THREAD = "dockrion-load"
_SIGNATURE = "it takes the payload, and may take the context"
_OWN_DIRECTORY = str(Path(dockrion.__file__).parent)


async def load_agent(dockfile: Dockfile, directory: Path) -> Agent:
    """Import the agent's code and create the agent, in a thread, since both may take long.

    Args:
        dockfile: Names the agent.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: The code is missing, broken, or not an agent.
    """
    spec = dockfile.agent
    field = f"agent.{spec.mode}"
    if spec.mode == "url":
        from dockrion.agents.remote import RemoteAgent  # noqa: PLC0415  memory: 0.4 MiB

        return RemoteAgent(dockfile)
    if spec.takes_config and spec.framework:
        return await _load_framework_agent(dockfile, directory, spec.framework)
    function = await _import(field, spec.target, directory)
    try:
        if spec.mode == "handler":
            return HandlerAgent(function)
        return ObjectAgent(await _call_factory(field, spec.target, function))
    except TypeError as error:
        raise StartError(f"{field}: {spec.target} cannot be used: {error}; {_SIGNATURE}") from error


async def _load_framework_agent(dockfile: Dockfile, directory: Path, framework: str) -> Agent:
    target = dockfile.agent.target
    factory = await _import_entrypoint(dockfile.agent, directory)
    config = _parse_config(dockfile)
    product = await _call_factory("agent.entrypoint", target, factory)
    module = await _import_framework(framework)
    threads = dockfile.streaming.max_concurrent_runs
    try:
        agent: Agent = module.create_agent(product, config, threads=threads)
    except ImportError as error:  # a graph needs LangGraph, whatever the framework
        raise _broken_framework(framework, error) from error
    except TypeError as error:
        raise StartError(f"agent.entrypoint: {target}() returned an unusable object: {error}") from error
    return agent


async def load_tool_guard(dockfile: Dockfile, directory: Path) -> "ToolGuard | None":
    """Guard LangChain's tools against all code of this process; return None if there is nothing to guard.

    Args:
        dockfile: Which tools the agent may call.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: LangChain is installed and broken.
    """
    tools = ToolPolicy(dockfile.allowed_tools)
    _prepare_imports(directory)
    if not tools.restricted or importlib.util.find_spec(_FRAMEWORK_PACKAGES["langchain"]) is None:
        return None
    try:
        module = await in_thread(lambda: importlib.import_module("dockrion.agents.tool_guard"), _THREAD)
    except ImportError as error:
        raise StartError(
            f"policies.tools: the tools of LangChain cannot be guarded: {_describe(error)}"
        ) from error
    guard: ToolGuard = module.ToolGuard(tools)
    return guard


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
    function = await _import(field, generator.handler, directory)
    try:
        return CustomIdGenerator(function, dockfile.agent.name)
    except TypeError as error:
        hint = "it takes no argument, or one"
        raise StartError(f"{field}: {generator.handler} cannot be used: {error}; {hint}") from error


async def load_errors(dockfile: Dockfile, directory: Path) -> list[str]:
    """Return why the agent's code cannot be loaded, a line for each reason, without calling a factory.

    Args:
        dockfile: Names the code.
        directory: The Dockfile's directory, where modules are searched first.
    """
    spec = dockfile.agent
    steps: list[Coroutine[Any, Any, Any]] = [
        _check_tool_guard(dockfile, directory),
        load_id_generator(dockfile, directory),
    ]
    if spec.mode == "handler":
        steps.append(load_agent(dockfile, directory))
    elif spec.mode == "entrypoint":
        steps.append(_check_entrypoint(dockfile, directory))
    errors = []
    for step in steps:
        try:
            await step
        except StartError as error:
            errors.append(str(error))
    return errors


async def _check_tool_guard(dockfile: Dockfile, directory: Path) -> None:
    guard = await load_tool_guard(dockfile, directory)
    if guard is not None:
        guard.close()


async def _check_entrypoint(dockfile: Dockfile, directory: Path) -> None:
    spec = dockfile.agent
    await _import_entrypoint(spec, directory)
    if spec.takes_config and spec.framework:
        _parse_config(dockfile)
        await _import_framework(spec.framework)


def _parse_config(dockfile: Dockfile) -> dict[str, Any]:
    try:
        return runnable_config.parse(dockfile.arguments.config or {})
    except ValueError as error:
        raise StartError(f"arguments.config: {error}") from error


async def _import_framework(framework: str) -> ModuleType:
    """Import the module that makes agents of a framework, whose installed version may be too old."""
    name = f"dockrion.agents.{framework}"
    try:
        module: ModuleType = await in_thread(lambda: importlib.import_module(name), _THREAD)
    except ImportError as error:
        raise _broken_framework(framework, error) from error
    return module


def _broken_framework(framework: str, error: ImportError) -> StartError:
    return StartError(f"agent.framework: {_describe(error)}; pip install 'dockrion[{framework}]'")


async def _import_entrypoint(spec: AgentSpec, directory: Path) -> Callable[..., Any]:
    package = _FRAMEWORK_PACKAGES.get(spec.framework or "")
    if package is not None and importlib.util.find_spec(package) is None:
        hint = f"pip install 'dockrion[{spec.framework}]'"
        raise StartError(f"agent.framework: {spec.framework} is not installed; {hint}")
    return await _import("agent.entrypoint", spec.target, directory)


async def _import(field: str, target: str, directory: Path) -> Callable[..., Any]:
    function: Callable[..., Any] = await in_thread(lambda: _import_target(field, target, directory), _THREAD)
    return function


async def _call_factory(field: str, target: str, factory: Callable[[], Any]) -> Any:
    try:
        product = await in_thread(factory, _THREAD)
        return await product if inspect.isawaitable(product) else product
    except (Exception, SystemExit) as error:
        raise StartError(f"{field}: {target}() raised {_describe(error)}") from error


def _import_target(field: str, target: str, directory: Path) -> Callable[..., Any]:
    """Import the callable that a Dockfile field names as `module.path:name`."""
    _prepare_imports(directory)
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_raised(field, module_name, directory, error) from error
        raise StartError(
            f"{field}: no module {error.name!r} in {directory.resolve()}, in {Path.cwd()}, or installed"
            f"{did_you_mean(error.name, _modules_in(directory))}"
        ) from error
    except BaseException as error:  # the agent's code may raise anything
        raise _import_raised(field, module_name, directory, error) from error
    where = getattr(module, "__file__", None) or module_name
    if not hasattr(module, name):
        callables = [key for key, value in vars(module).items() if callable(value)]
        raise StartError(f"{field}: {where} has no {name!r}{did_you_mean(name, callables)}")
    function: Any = getattr(module, name)
    if not callable(function):
        raise StartError(f"{field}: {name!r} in {where} is of type {type(function).__name__}, not callable")
    return function  # type: ignore[no-any-return]


def _prepare_imports(directory: Path) -> None:
    for path in (str(Path.cwd()), str(directory.resolve())):
        if path in sys.path:
            sys.path.remove(path)
        sys.path.insert(0, path)
    importlib.invalidate_caches()


def _import_raised(field: str, module_name: str, directory: Path, error: BaseException) -> StartError:
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = "; install it where dockrion is installed"
    where = _location(error, directory) or module_name
    return StartError(f"{field}: importing {module_name!r} failed at {where}: {_describe(error)}{hint}")


def _location(error: BaseException, directory: Path) -> str | None:
    """Return the innermost line of the agent's own code in an exception's traceback."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    roots = (str(directory.resolve()), str(Path.cwd()))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename
        if path.startswith(roots) and not path.startswith(_OWN_DIRECTORY) and "site-packages" not in path:
            return f"{path}:{frame.lineno}"
    return None


def _describe(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    return " ".join(f"{type(error).__name__}: {safe_str(error)}".split())


def _modules_in(directory: Path) -> list[str]:
    return [
        path.stem for path in directory.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
