"""Tracebacks that show the agent's own frames, and those of everybody else's code folded."""

import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType

import dockrion

_SERVICE = Path(dockrion.__file__).parent
_LIBRARIES = ("site-packages", "dist-packages")
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_MAX_NAMED = 3


def format_folded(error: BaseException, trace: TracebackType | None, agent_package: str = "") -> str:
    """Format an exception and its causes; the agent's own frames come first.

    The frames of this service, of Python and of other packages are counted in a line, except the frame that
    raised: it often says what a library did not like.

    Args:
        error: The exception.
        trace: Its traceback.
        agent_package: The package of the agent, whose frames are shown though it is installed.
    """
    formatted = traceback.TracebackException(type(error), error, trace)
    _fold(formatted, agent_package)
    return "".join(formatted.format())


def _fold(formatted: traceback.TracebackException, agent_package: str) -> None:
    chained = (formatted.__cause__, formatted.__context__, *(formatted.exceptions or ()))
    for each in chained:
        if each is not None:
            _fold(each, agent_package)
    packages = [_package(frame.filename) for frame in formatted.stack]
    if formatted.stack and packages[-1] != "dockrion" and not formatted.stack[-1].filename.startswith("<"):
        packages[-1] = ""  # what raised
    shown = _Folded(_folded(zip(packages, formatted.stack, strict=True), agent_package))
    if shown and isinstance(shown[0], _Fold):  # by which the agent was called
        shown.append(shown.pop(0))
    formatted.stack = shown


class _Fold(traceback.FrameSummary):
    """Several frames in a row that are not shown."""

    __slots__ = ("text",)

    def __init__(self, packages: list[str]) -> None:
        super().__init__(f"<{len(packages)} frames>", 0, "", lookup_line=False)
        names = ["dockrion"] if "dockrion" in packages else list(dict.fromkeys(packages))
        others = ", …" if len(names) > _MAX_NAMED else ""
        frames = "frame" if len(packages) == 1 else "frames"
        self.text = f"  … {len(packages)} {frames} of {', '.join(names[:_MAX_NAMED])}{others}\n"


class _Folded(traceback.StackSummary):
    """A stack some of whose frames are folded."""

    def format_frame_summary(self, frame_summary: traceback.FrameSummary, **options: bool) -> str:
        if isinstance(frame_summary, _Fold):
            return frame_summary.text
        return super().format_frame_summary(frame_summary, **options)


def _folded(
    frames: Iterable[tuple[str, traceback.FrameSummary]], agent_package: str
) -> Iterator[traceback.FrameSummary]:
    for own, group in groupby(frames, key=lambda each: each[0] in ("", agent_package)):
        if own:
            yield from (frame for _, frame in group)
        else:
            yield _Fold([package for package, _ in group])


def _package(filename: str) -> str:
    """Return the package that a file is part of, empty for the code of whoever serves the agent."""
    if filename.startswith("<frozen "):  # modules of the interpreter
        return filename.removeprefix("<frozen ").rstrip(">").partition(".")[0]
    path = Path(filename)
    if path.is_relative_to(_SERVICE):
        return "dockrion"
    for name in _LIBRARIES:
        if name in path.parts:
            return _top(path.parts[path.parts.index(name) + 1 :])
    if path.is_relative_to(_STANDARD_LIBRARY):
        return _top(path.relative_to(_STANDARD_LIBRARY).parts)
    return ""


def _top(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")
