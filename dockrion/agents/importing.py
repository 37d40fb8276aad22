"""Importing the agent's code: the callable that a Dockfile field names as `module.path:name`."""

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dockrion
from dockrion.dockfile.problems import did_you_mean
from dockrion.errors import StartError
from dockrion.json_encoding import describe_error
from dockrion.threads import in_thread

THREAD = "dockrion-load"
_OWN_DIRECTORY = str(Path(dockrion.__file__).parent)


async def import_target(field: str, target: str, directory: Path) -> Callable[..., Any]:
    """Import a callable, in a thread, since that may take long.

    Args:
        field: The Dockfile field, for messages.
        target: Its value, `module.path:name`.
        directory: The Dockfile's directory, where modules are searched first.

    Raises:
        StartError: There is no such module or name, the import fails, or it is not callable.
    """
    function: Callable[..., Any] = await in_thread(lambda: _import(field, target, directory), THREAD)
    return function


def _import(field: str, target: str, directory: Path) -> Callable[..., Any]:
    """Import the callable that a Dockfile field names as `module.path:name`."""
    prepare_imports(directory)
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_raised(field, module_name, directory, error) from error
        places = ", in ".join(dict.fromkeys((str(directory.resolve()), str(Path.cwd()))))
        raise StartError(
            f"{field}: no module {error.name!r} in {places}, or installed"
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


def prepare_imports(directory: Path) -> None:
    """Search modules in a directory first, then in the working directory."""
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
    return StartError(f"{field}: importing {module_name!r} failed at {where}: {describe_error(error)}{hint}")


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


def _modules_in(directory: Path) -> list[str]:
    return [
        path.stem for path in directory.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
