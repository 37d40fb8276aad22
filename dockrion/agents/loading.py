"""From the Dockfile's `module.path:name` to an agent."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import dockrion
import dockrion.context
from dockrion.agents.base import Agent
from dockrion.agents.custom import HandlerAgent, ObjectAgent
from dockrion.agents.threads import in_thread
from dockrion.dockfile import Dockfile
from dockrion.errors import StartError
from dockrion.jsonable import text_of

_OURS = str(Path(dockrion.__file__).parent)


async def load_agent(dockfile: Dockfile, directory: Path) -> Agent:
    """Import the agent's code and make the agent, in a thread: both may take long.

    Args:
        dockfile: It names the agent.
        directory: Where the Dockfile is; modules are looked for there first.

    Raises:
        StartError: The code is missing, broken, or not an agent.
    """
    spec = dockfile.agent
    field = f"agent.{spec.mode}"
    framework = spec.framework or "custom"
    function = await in_thread(lambda: import_target(field, spec.target, directory), "dockrion-load")
    try:
        if spec.mode == "handler":
            return HandlerAgent(function, framework)
        made = await _make(field, spec.target, function)
        return ObjectAgent(made, framework)
    except TypeError as error:
        raise StartError(f"{field}: {spec.target} cannot be used: {error}") from error


async def _make(field: str, target: str, factory: Callable[[], Any]) -> Any:
    try:
        made = await in_thread(factory, "dockrion-load")
        return await made if inspect.isawaitable(made) else made
    except (Exception, SystemExit) as error:
        raise StartError(f"{field}: {target}() raised {_said(error)}") from error


def import_target(field: str, target: str, directory: Path) -> Callable[..., Any]:
    """Import what a Dockfile field names.

    Args:
        field: The field, for messages.
        target: `module.path:name`.
        directory: Looked in first.

    Returns:
        The callable.

    Raises:
        StartError: It cannot be had; the message says why and what to do.
    """
    _prepare(directory)
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_raised(field, module_name, directory, error) from error
        raise StartError(
            f"{field}: no module {error.name!r} in {directory.resolve()}, in {Path.cwd()}, or installed"
            f"{_suggestion(error.name, _modules_in(directory))}"
        ) from error
    except (Exception, SystemExit) as error:  # an import runs the agent's code
        raise _import_raised(field, module_name, directory, error) from error
    where = getattr(module, "__file__", None) or module_name
    if not hasattr(module, name):
        callables = [key for key, value in vars(module).items() if callable(value)]
        raise StartError(f"{field}: {where} has no {name!r}{_suggestion(name, callables)}")
    function: Any = getattr(module, name)
    if not callable(function):
        raise StartError(f"{field}: {name!r} in {where} is a {type(function).__name__}, not callable")
    return function  # type: ignore[no-any-return]


def _prepare(directory: Path) -> None:
    for place in (str(Path.cwd()), str(directory.resolve())):
        if place in sys.path:
            sys.path.remove(place)
        sys.path.insert(0, place)
    # Agents written for this import name find the same classes under it.
    sys.modules.setdefault("dockrion_events", dockrion)
    sys.modules.setdefault("dockrion_events.context", dockrion.context)
    importlib.invalidate_caches()


def _import_raised(field: str, module_name: str, directory: Path, error: BaseException) -> StartError:
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = "; install it where dockrion is installed"
    where = _place(error, directory) or module_name
    return StartError(f"{field}: importing {module_name!r} failed at {where}: {_said(error)}{hint}")


def _place(error: BaseException, directory: Path) -> str | None:
    """Return the last line of the agent's own code that an exception went through."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    homes = (str(directory.resolve()), str(Path.cwd()))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = frame.filename
        if path.startswith(homes) and not path.startswith(_OURS) and "site-packages" not in path:
            return f"{path}:{frame.lineno}"
    return None


def _said(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    return " ".join(f"{type(error).__name__}: {text_of(error)}".split())


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _modules_in(directory: Path) -> list[str]:
    return [
        path.stem for path in directory.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
