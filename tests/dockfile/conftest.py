"""Dockfiles for tests: a valid one of four lines, with sections replaced or appended."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dockrion.dockfile import DockfileError, Loaded, load

VALID = {
    "version": 'version: "1.0"',
    "agent": "agent: {name: bot, handler: app:handle}",
    "io_schema": "io_schema: {}",
    "expose": "expose: {}",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a Dockfile and return its path, relative to the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(*sections: str) -> Path:
        texts = {text.partition(":")[0]: text for text in sections}
        more = {name for text in sections for name in VALID if f"\n{name}: " in text}  # not its first section
        others = {name: line for name, line in VALID.items() if name not in more}
        path = Path("Dockfile.yaml")
        path.write_text("\n".join({**others, **texts}.values()) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def loaded(write: Callable[..., Path]) -> Callable[..., Loaded]:
    def loaded(*sections: str, environ: Mapping[str, str] | None = None) -> Loaded:
        return load(write(*sections), environ=environ or {})

    return loaded


@pytest.fixture
def errors(write: Callable[..., Path]) -> Callable[..., list[str]]:
    """Return the error messages of a Dockfile, without the file's name."""

    def errors(*sections: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(DockfileError) as caught:
            load(write(*sections), environ=environ or {})
        assert [str(problem) for problem in caught.value.problems] == str(caught.value).splitlines()
        return [line.removeprefix("Dockfile.yaml:") for line in str(caught.value).splitlines()]

    return errors
