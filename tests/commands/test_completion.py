"""`dockrion completion`: each shell that is installed really completes with its script."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockrion.cli import _COMMANDS, main

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]
# What is typed: what is offered among others, and what is not
TYPED: dict[str, tuple[set[str], set[str]]] = {
    "dockrion ": (set(_COMMANDS), {"Dockfile.yaml"}),
    "dockrion va": ({"validate"}, {"version", "run"}),
    "dockrion run --log-": ({"--log-format"}, {"--host"}),
    "dockrion run --log-format ": ({"auto", "json", "text"}, {"Dockfile.yaml"}),
    "dockrion init --template lang": ({"langgraph", "langchain"}, {"chat", "function"}),
    "dockrion validate Dock": ({"Dockfile.yaml"}, {"--json"}),
    "dockrion test -f pay": ({"payload.json"}, {"Dockfile.yaml"}),
    "dockrion completion ": ({"bash", "zsh", "fish"}, {"payload.json"}),
}


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder with files, and the script of each shell."""
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    for name in ("Dockfile.yaml", "payload.json"):
        (tmp_path / name).touch()
    return tmp_path


def run(folder: Path, *command: str) -> str:
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=30, env=environment(folder)
    ).stdout


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LANG": "C.UTF-8"}


def bash(folder: Path) -> Iterator[set[str]]:
    for typed in TYPED:
        words = typed.split(" ")
        quoted = " ".join(f"'{word}'" for word in words)
        script = f"source ./bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _dockrion"
        yield set(run(folder, "bash", "-uc", f'{script}; printf "%s\n" "${{COMPREPLY[@]}}"').split())


def fish(folder: Path) -> Iterator[set[str]]:
    for typed in TYPED:
        lines = run(folder, "fish", "-c", f"source ./fish; complete -C '{typed}'").splitlines()
        yield {line.partition("\t")[0] for line in lines}


def zsh(folder: Path) -> Iterator[set[str]]:
    """Yield the words that are shown when a text is typed with a tab behind it."""
    descriptor, its = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=folder,
        env=environment(folder),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    try:
        setup = "autoload -Uz compinit; compinit -u -D; source ./zsh; PS1=; LISTMAX=999; echo read''y"
        os.write(descriptor, f"{setup}\n".encode())
        _read_until(descriptor, {"ready"})
        for typed, (offered, _) in TYPED.items():
            # It lists nothing while more is typed, so this waits for the list.
            os.write(descriptor, f"{typed}\t".encode())
            yield _read_until(descriptor, offered)
            os.write(descriptor, b"\x15echo agai''n\n")  # what was typed is removed
            _read_until(descriptor, {"again"})
    finally:
        process.kill()
        process.wait()
        os.close(descriptor)


def _read_until(descriptor: int, expected: set[str]) -> set[str]:
    """Read until these words are shown, and return all that are."""
    shown, deadline = "", time.monotonic() + 20
    words: set[str] = set()
    while not expected <= words:
        assert time.monotonic() < deadline, shown
        if select.select([descriptor], [], [], 1)[0]:
            shown += os.read(descriptor, 65536).decode(errors="replace")
        words = set(re.findall(r"[\w.-]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x07\x08]", "", shown)))
    return words


COMPLETE: dict[str, Callable[[Path], Iterator[set[str]]]] = {"bash": bash, "zsh": zsh, "fish": fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_values_and_files_are_completed(shell: str, folder: Path) -> None:
    for typed, completed in zip(TYPED, COMPLETE[shell](folder), strict=True):
        offered, others = TYPED[typed]
        assert offered <= completed, typed
        assert not others & completed, typed


def test_bash_is_always_tested_and_all_three_in_ci() -> None:
    assert set(SHELLS) >= ({"bash", "zsh", "fish"} if "CI" in os.environ else {"bash"})
