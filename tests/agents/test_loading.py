"""From a Dockfile's target to an agent, and the error messages when that fails."""

import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dockrion.agents.loading import load_agent
from dockrion.errors import StartError
from dockrion.runs.agent import Agent
from tests.agents.harness import Ended, bench
from tests.support import dockfile


class Folder:
    """A directory with a Dockfile and its code, whose module names are unique."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"agent_{uuid4().hex}"

    def write(self, source: str, name: str | None = None) -> Path:
        path = self.path / f"{(name or self.name).replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    async def load(self, target: str = "handle", module: str | None = None, field: str = "handler") -> Agent:
        spec = {"name": "tested", field: f"{module or self.name}:{target}"}
        if field == "entrypoint":
            spec["framework"] = "custom"
        loaded = dockfile(self.path, {"agent": spec})
        return await load_agent(loaded.dockfile, self.path, AsyncExitStack())

    async def refused(self, target: str = "handle", module: str | None = None, field: str = "handler") -> str:
        """Return the message of the StartError."""
        try:
            await self.load(target, module, field)
        except StartError as error:
            message = str(error)
        except BaseException as error:
            raise AssertionError(f"raised {error!r} instead of StartError") from error
        else:
            raise AssertionError("it was loaded")
        assert message.startswith(f"agent.{field}: ")
        assert "Traceback" not in message
        return message

    async def run(self, payload: Any = None, **where: Any) -> Ended:
        async with bench(await self.load(**where)) as made:
            return await made.run(payload)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    before, modules = list(sys.path), set(sys.modules)
    yield Folder(tmp_path)
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("agent_"):
            del sys.modules[name]


async def test_handler_beside_the_dockfile_is_loaded(folder: Folder) -> None:
    folder.write("def handle(payload): return {'got': payload}")
    assert (await folder.run(5)).output == {"got": 5}


async def test_handler_in_the_working_directory_is_loaded(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(elsewhere)
    (elsewhere / f"{folder.name}.py").write_text("def handle(payload): return 'cwd'")
    assert (await folder.run()).output == "cwd"


async def test_dockfiles_folder_comes_before_the_working_directory(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(elsewhere)
    (elsewhere / f"{folder.name}.py").write_text("def handle(payload): return 'cwd'")
    folder.write("def handle(payload): return 'beside'")
    assert (await folder.run()).output == "beside"


async def test_dockfiles_folder_is_first_even_if_it_was_on_the_path_already(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("path")
    monkeypatch.syspath_prepend(folder.path)
    monkeypatch.syspath_prepend(elsewhere)
    (elsewhere / f"{folder.name}.py").write_text("def handle(payload): return 'elsewhere'")
    folder.write("def handle(payload): return 'beside'")
    assert (await folder.run()).output == "beside"


async def test_nested_package_path_is_loaded(folder: Folder) -> None:
    module = f"{folder.name}.deep.er"
    folder.write("from .help import answer\ndef handle(payload): return answer()", module)
    folder.write("def answer(): return 'deep'", f"{folder.name}.deep.help")
    assert (await folder.run(module=module)).output == "deep"


async def test_agent_code_of_the_dockrion_events_name_runs_unchanged(folder: Folder) -> None:
    folder.write("""
from dockrion_events import StreamContext, get_current_context

async def handle(payload: dict, emitter: StreamContext) -> dict:
    await get_current_context().emit_token("hi")
    return {"same": get_current_context() is emitter}
""")
    ended = await folder.run()
    assert ended.tokens == ["hi"]
    assert ended.output == {"same": True}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("from dockrion_events.context import StreamContext", "StreamContext"),
        ("from dockrion_events import context", "context.StreamContext"),
        ("import dockrion_events.context", "dockrion_events.context.StreamContext"),
        ("import dockrion_events.context as events", "events.StreamContext"),
    ],
)
async def test_every_import_of_the_context_module_of_dockrion_events_works(
    folder: Folder, statement: str, name: str
) -> None:
    folder.write(f"{statement}\ndef handle(payload, emitter: {name}): return emitter.run_id")
    assert (await folder.run()).output


async def test_missing_module_error_has_a_suggestion_and_the_search_path(folder: Folder) -> None:
    folder.write("def handle(payload): ...")
    message = await folder.refused(module=folder.name[:-1] + "_")
    assert f"no module '{folder.name[:-1]}_'" in message
    assert f"did you mean {folder.name}?" in message
    assert str(folder.path) in message
    assert str(Path.cwd()) in message


async def test_missing_module_error_names_a_directory_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.path)
    assert (await folder.refused(module="qqqqqqqq")).count(str(folder.path)) == 1


async def test_missing_module_without_a_similar_one_has_no_suggestion(folder: Folder) -> None:
    message = await folder.refused(module="qqqqqqqq")
    assert "no module 'qqqqqqqq'" in message
    assert "did you mean" not in message


async def test_missing_module_in_a_package_has_its_full_name(folder: Folder) -> None:
    folder.write("", f"{folder.name}.__init__")
    assert f"no module '{folder.name}.gone'" in await folder.refused(module=f"{folder.name}.gone")


async def test_missing_name_error_has_the_file_and_a_suggestion(folder: Folder) -> None:
    path = folder.write("def handel(payload): ...\nvalue = 5")
    message = await folder.refused()
    assert f"{path} has no 'handle', did you mean handel?" in message


async def test_not_callable_error_has_the_type(folder: Folder) -> None:
    path = folder.write("handle = {'a': 1}")
    message = await folder.refused()
    assert "'handle'" in message
    assert str(path) in message
    assert "is of type dict, not callable" in message


async def test_import_error_has_file_line_and_exception(folder: Folder) -> None:
    path = folder.write("import os\n\nraise ValueError('no key')\n")
    message = await folder.refused()
    assert f"{path}:3" in message
    assert "ValueError: no key" in message


async def test_import_error_in_a_helper_has_its_line(folder: Folder) -> None:
    helper = folder.write("def boom():\n    return 1 / 0\n", f"{folder.name}_helper")
    folder.write(f"from {folder.name}_helper import boom\nboom()\n")
    message = await folder.refused()
    assert f"{helper}:2" in message
    assert "ZeroDivisionError" in message


async def test_import_error_inside_a_library_has_the_agents_line(folder: Folder) -> None:
    path = folder.write("import json\n\nSETTINGS = json.loads('{')\n")
    message = await folder.refused()
    assert f"{path}:3" in message
    assert "JSONDecodeError" in message


async def test_syntax_error_has_file_and_line(folder: Folder) -> None:
    path = folder.write("def handle(payload):\n    return {\n")
    message = await folder.refused()
    assert f"{path}:2" in message
    assert "SyntaxError" in message


async def test_missing_dependency_differs_from_a_missing_agent(folder: Folder) -> None:
    path = folder.write("import qqqq_not_installed\n")
    message = await folder.refused()
    assert f"{path}:1" in message
    assert "No module named 'qqqq_not_installed'" in message
    assert "install it" in message


async def test_missing_name_in_a_dependency_is_an_import_error(folder: Folder) -> None:
    path = folder.write("\nfrom json import qqqq\n")
    message = await folder.refused()
    assert f"{path}:2" in message
    assert "ImportError: cannot import name 'qqqq'" in message


async def test_sys_exit_at_import_is_reported(folder: Folder) -> None:
    path = folder.write("import sys\nsys.exit(0)\n")
    message = await folder.refused()
    assert f"{path}:2" in message
    assert "SystemExit: 0" in message


async def test_handler_that_cannot_take_a_payload_prevents_the_start(folder: Folder) -> None:
    folder.write("def handle(): ...")
    assert f"{folder.name}:handle" in await folder.refused()


FACTORY = "class Made:\n    def invoke(self, payload): return ['made', payload]\n"


@pytest.mark.parametrize(
    "source", ["def make(): return Made()", "async def make(): return Made()", "make = Made"]
)
async def test_factory_of_an_entrypoint_creates_the_agent(folder: Folder, source: str) -> None:
    folder.write(FACTORY + source)
    assert (await folder.run(1, target="make", field="entrypoint")).output == ["made", 1]


async def test_factory_is_called_once(folder: Folder) -> None:
    folder.write(FACTORY + "calls = []\ndef make():\n    calls.append(1)\n    return Made()")
    async with bench(await folder.load("make", field="entrypoint")) as made:
        for _ in range(3):
            await made.run()
            await made.invoke()
    assert sys.modules[folder.name].calls == [1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no key')", "raised ValueError: no key"),
        ("raise StopIteration('x')", "StopIteration"),
        ("import sys; sys.exit(0)", "raised SystemExit: 0"),
        ("return object()", "object has no method `invoke` or `ainvoke`"),
        ("return None", "NoneType has no method `invoke` or `ainvoke`"),
        ("return type('Made', (), {'invoke': lambda self: None})()", "cannot be used"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_factory_of_something_else_prevents_the_start(
    folder: Folder, body: str, said: str, kind: str
) -> None:
    folder.write(f"{kind} make():\n    {body}\n")
    message = await folder.refused("make", field="entrypoint")
    assert f"{folder.name}:make" in message
    assert said in message


async def test_factory_that_requires_arguments_prevents_the_start(folder: Folder) -> None:
    folder.write("def make(settings): ...")
    assert "settings" in await folder.refused("make", field="entrypoint")


async def test_multiline_exception_is_reported_on_one_line(folder: Folder) -> None:
    folder.write("raise ValueError('first\\nsecond')\n")
    assert "\n" not in await folder.refused()
