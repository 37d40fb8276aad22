"""Which saved files are noticed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dockrion.server.file_changes import AgentFiles
from tests.support import wait_until


@asynccontextmanager
async def watched(dockfile: Path, env_file: Path | None = None) -> AsyncIterator[list[list[str]]]:
    """Watch files, and yield the list to which each burst of changes is added."""
    bursts: list[list[str]] = []
    task = asyncio.create_task(AgentFiles(dockfile, env_file).watch(bursts.append))
    for _ in range(5):  # steps of its tasks until it watches, which they begin without waiting
        await asyncio.sleep(0)
    try:
        yield bursts
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def folder(tmp_path: Path) -> Path:
    (tmp_path / "project" / "package").mkdir(parents=True)
    return tmp_path / "project"


async def test_dockfile_variables_and_python_files_are_noticed(tmp_path: Path) -> None:
    project, env_file = folder(tmp_path), tmp_path / "elsewhere" / "service.env"
    env_file.parent.mkdir()
    async with watched(project / "Dockfile.yaml", env_file) as bursts:
        named = ["Dockfile.yaml", ".env", "env.yaml", "env.yml", "agent.py", "package/part.py"]
        for name in named:
            (project / name).write_text("1")
        env_file.write_text("A=1")
        (env_file.parent / "other.env").write_text("A=1")
        await wait_until(lambda: {name for burst in bursts for name in burst} == {*named, str(env_file)})


async def test_file_in_a_new_folder_and_a_removed_one_are_noticed(tmp_path: Path) -> None:
    project = folder(tmp_path)
    (project / "old.py").touch()
    async with watched(project / "Dockfile.yaml") as bursts:
        (project / "new" / "deep").mkdir(parents=True)
        await asyncio.to_thread((project / "new" / "deep" / "part.py").write_text, "1")
        (project / "old.py").unlink()
        await wait_until(lambda: "old.py" in str(bursts))
        (project / "new" / "deep" / "part.py").write_text("2")
        await wait_until(lambda: "new/deep/part.py" in str(bursts))


async def test_file_that_another_one_replaces_is_noticed_again_and_again(tmp_path: Path) -> None:
    project = folder(tmp_path)
    for name in ("agent.py", "Dockfile.yaml"):
        async with watched(project / "Dockfile.yaml") as bursts:
            for _ in range(2):
                (project / "saved.tmp").write_text("new")
                (project / "saved.tmp").rename(project / name)
                await wait_until(lambda: bursts)
                assert all(each == [name] for each in bursts)
                bursts.clear()


async def test_many_files_saved_at_once_are_one_change(tmp_path: Path) -> None:
    project = folder(tmp_path)

    async def save(bursts: list[list[str]], names: set[str]) -> None:
        for name in names:
            (project / name).write_text("1")
        await wait_until(lambda: names <= {name for burst in bursts for name in burst})

    async with watched(project / "Dockfile.yaml") as bursts:
        # On a busy machine, saving them may take longer than the pause that ends a burst.
        for attempt in range(5):
            names = {f"part{attempt}-{number}.py" for number in range(50)}
            await save(bursts, names)
            if set(bursts[-1]) == names:
                return
    raise AssertionError(bursts)


async def test_other_files_are_not_noticed(tmp_path: Path) -> None:
    project = folder(tmp_path)
    ignored = [".venv", "venv", "node_modules", "__pycache__", ".git", "lib/python3.11/site-packages"]
    for name in ignored:
        (project / name).mkdir(parents=True)
    async with watched(project / "Dockfile.yaml") as bursts:
        for name in ignored:
            (project / name / "module.py").write_text("1")
        for name in (".#agent.py", "agent.py~", ".agent.py.swp", "agent.pyc", "notes.txt", "other.yaml"):
            (project / name).write_text("1")
        (project / "agent.py").write_text("1")
        await wait_until(lambda: bursts)
    assert bursts == [["agent.py"]]


async def test_project_within_a_folder_of_an_ignored_name_is_watched(tmp_path: Path) -> None:
    project = tmp_path / ".venv" / "node_modules"
    project.mkdir(parents=True)
    async with watched(project / "Dockfile.yaml") as bursts:
        (project / "agent.py").write_text("1")
        await wait_until(lambda: bursts)
        assert bursts[0] == ["agent.py"]


async def test_compiled_code_of_a_saved_file_is_discarded(tmp_path: Path) -> None:
    project = folder(tmp_path)
    (project / "agent.py").write_text("1")
    compiled = project / "__pycache__" / f"agent.{sys.implementation.cache_tag}.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"of the code before, which was as long and saved in the same second")
    async with watched(project / "Dockfile.yaml") as bursts:
        (project / "agent.py").write_text("2")
        await wait_until(lambda: bursts)
    assert not compiled.exists()
