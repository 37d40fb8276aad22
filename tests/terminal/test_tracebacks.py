"""Tracebacks with other people's frames folded."""

import asyncio
import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from dockrion.redaction import Redactor
from dockrion.terminal.tracebacks import format_folded

OWN = "agent.py"


def code(path: Path, source: str) -> ModuleType:
    """Return a module of some code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    module = ModuleType(path.stem)
    exec(compile(source, str(path), "exec"), vars(module))
    return module


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError


def shown(function: Callable[[], object], agent_package: str = "") -> list[str]:
    """Return the lines of a traceback, without the test's own frame and without code."""
    error = raised(function)
    assert error.__traceback__ is not None
    text = format_folded(error, error.__traceback__.tb_next, agent_package)
    names = (line.rpartition("/")[2] if line.startswith("  File") else line for line in text.splitlines())
    return [line for line in names if not line.startswith("    ")]


def test_frames_of_the_service_are_one_line_after_those_of_the_agent(tmp_path: Path) -> None:
    agent = code(
        tmp_path / OWN, "def handle(text):\n    inner()\ndef inner():\n    raise ValueError('bad')\n"
    )

    redactor = Redactor()
    vars(redactor)["mask"] = agent.handle
    lines = shown(partial(redactor.mask_value, [["x"]]))
    assert lines[0] == "Traceback (most recent call last):"
    own = [line for line in lines if line.startswith(OWN)]
    assert [line.rpartition(" ")[2] for line in own] == ["handle", "inner"]
    assert lines[-1] == "ValueError: bad"
    assert re.fullmatch(r"  … \d frames of dockrion", lines[-2])
    assert len(lines) == 5


def test_frames_of_packages_between_those_of_the_agent_are_folded_where_they_are(tmp_path: Path) -> None:
    source = "def handle(call):\n    call(fail)\ndef fail():\n    raise ValueError('bad')\n"
    agent = code(tmp_path / OWN, source)
    library = code(
        tmp_path / "lib" / "site-packages" / "library" / "core.py",
        "def call(f):\n    middle(f)\ndef middle(f):\n    f()\n",
    )
    lines = shown(lambda: agent.handle(library.call))
    own = [index for index, line in enumerate(lines) if line.startswith(OWN)]
    assert lines[own[0] + 1 : own[-1]] == ["  … 2 frames of library"]
    assert "library" in "".join(shown(lambda: agent.handle(library.call), "other"))
    unfolded = shown(lambda: agent.handle(library.call), "library")
    assert not any("…" in line and "library" in line for line in unfolded)


def test_frame_that_raised_is_shown_whosever_it_is(tmp_path: Path) -> None:
    agent = code(tmp_path / OWN, "import json\ndef handle():\n    return json.loads('{bad')\n")
    lines = shown(agent.handle)
    assert lines[1].endswith("in handle")
    assert "… 2 frames of json" in lines[2]
    assert lines[3].startswith("decoder.py")


def test_machinery_around_the_service_is_counted_with_it(tmp_path: Path) -> None:
    agent = code(tmp_path / OWN, "def handle():\n    raise ValueError('bad')\n")

    async def call() -> None:
        await asyncio.to_thread(agent.handle)

    lines = shown(lambda: asyncio.run(call()))
    assert any(line.startswith("  … ") and "asyncio" in line for line in lines)


def test_causes_are_folded_too(tmp_path: Path) -> None:
    source = (
        "import json\ndef handle():\n    try:\n        json.loads('{bad')\n"
        "    except ValueError as error:\n        raise RuntimeError('outer') from error\n"
    )
    lines = shown(code(tmp_path / OWN, source).handle)
    assert "The above exception was the direct cause of the following exception:" in lines
    assert sum("frames of json" in line for line in lines) == 1
    assert lines[-1] == "RuntimeError: outer"


def test_groups_and_syntax_errors_are_formatted(tmp_path: Path) -> None:
    source = "def handle():\n    raise ExceptionGroup('several', [ValueError('one'), KeyError('two')])\n"
    group = raised(code(tmp_path / OWN, source).handle)
    text = format_folded(group, group.__traceback__)
    assert "ValueError: one" in text
    assert "KeyError: 'two'" in text


def test_syntax_error_of_the_agent_shows_its_line_and_no_machinery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_agent.py").write_text("def (\n")
    monkeypatch.syspath_prepend(tmp_path)
    lines = shown(partial(importlib.import_module, "broken_agent"))
    assert re.fullmatch(r"  … \d+ frames of importlib", lines[1])
    assert lines[2].startswith("broken_agent.py")
    assert lines[-1].startswith("SyntaxError")


def test_exception_without_a_traceback_is_its_message() -> None:
    assert format_folded(ValueError("bad"), None) == "ValueError: bad\n"


@pytest.mark.parametrize("depth", [1, 50])
def test_deep_recursion_of_the_agent_is_short(tmp_path: Path, depth: int) -> None:
    source = "def handle(n):\n    if n:\n        return handle(n - 1)\n    raise ValueError('bad')\n"
    agent = code(tmp_path / OWN, source)
    assert len(shown(lambda: agent.handle(depth))) < 12
