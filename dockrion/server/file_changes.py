"""Notices when the files that an agent is made of are saved."""

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Collection
from contextlib import aclosing
from pathlib import Path

from watchfiles import Change, awatch

from dockrion.errors import StartError

_IGNORED = {"__pycache__", "node_modules", "site-packages", "venv", "env"}  # and those that begin with a dot
_ENVIRONMENT = {".env", "env.yaml", "env.yml"}
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs each change
_QUIET_MILLISECONDS = 50  # without a change: editors write several files, and tools many


class AgentFiles:
    """A Dockfile, the files of variables, and the Python files in its directory.

    Args:
        dockfile: The Dockfile.
        env_file: Another file of variables, wherever it is, or None.
    """

    def __init__(self, dockfile: Path, env_file: Path | None) -> None:
        self._directory = dockfile.resolve().parent
        named = {dockfile.resolve(), dockfile.absolute(), *(self._directory / each for each in _ENVIRONMENT)}
        others = {env_file.absolute(), env_file.resolve()} if env_file is not None else set()
        self._named = named | others
        # Not the files themselves: a file that is replaced by another one is watched no more.
        self._apart = {path.parent for path in others if not path.is_relative_to(self._directory)}

    async def watch(self, on_change: Callable[[list[str]], None]) -> None:
        """Report the names of the files that are saved, until this is cancelled.

        Args:
            on_change: Called with the names.

        Raises:
            StartError: The files cannot be watched.
        """
        watches = [self._watch([self._directory], on_change, recursive=True)]
        if self._apart:
            watches.append(self._watch(self._apart, on_change, recursive=False))
        try:
            await asyncio.gather(*watches)
        except OSError as error:
            raise StartError(f"cannot watch the files in {self._directory}: {error}") from error

    async def _watch(
        self, directories: Collection[Path], on_change: Callable[[list[str]], None], *, recursive: bool
    ) -> None:
        watched = awatch(
            *directories,
            watch_filter=self._is_watched,
            step=_QUIET_MILLISECONDS,
            recursive=recursive,
            ignore_permission_denied=True,
        )
        async with aclosing(watched):
            async for changes in watched:
                paths = {Path(path) for _, path in changes}
                _discard_bytecode(paths)
                on_change(sorted(map(self._name, paths)))

    def _is_watched(self, _change: Change, text: str) -> bool:
        path = Path(text)
        if path in self._named:
            return True
        if path.suffix != ".py" or not path.is_relative_to(self._directory):
            return False
        parts = path.relative_to(self._directory).parts
        return not any(part.startswith(".") or part in _IGNORED for part in parts)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._directory) if path.is_relative_to(self._directory) else path)


def _discard_bytecode(paths: Collection[Path]) -> None:
    """Remove compiled code that Python would take for that of files saved in the same second (PEP 552)."""
    for path in paths:
        if path.suffix == ".py":
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
