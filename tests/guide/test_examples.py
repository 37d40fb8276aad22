"""Run every example of the README and the guide as written.

A page is processed from top to bottom in a temporary folder: its files are written there, the services that
its `console` blocks start are running, and its `sh` blocks are executed; their output must match the `text`
blocks that follow them.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockrion import events
from dockrion.cli import main
from dockrion.dockfile import load
from tests.backends.conformance import delete_keys
from tests.guide.pages import PAGES, Block, blocks, name_of
from tests.guide.services import KEY, ROOT, agent_process, running, shell, shell_session
from tests.servers import KINDS, free_port

README = ROOT / "README.md"
SETUP = "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install --quiet "
RUN = SETUP + ". && .venv/bin/dockrion run config/Dockfile.yaml\n"
TEST = SETUP + "--editable '.[dev]' && .venv/bin/pytest\n"
SAMPLE = "dockrion run config/Dockfile.yaml --port 8080"
_LOCALHOST = re.compile(r"(https?)://localhost:(\d+)")
_SERVES = re.compile(
    r"^dockrion run(?: (\S+\.yaml))?(?: --port (\d+)| --reload)(?: --role (\w+))?$", re.MULTILINE
)


class Services:
    """Starts the services that the pages call, each on its first use.

    Services of `config/` are shared by all pages; a page's own Dockfile is served for that page only.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        self._ports: dict[str, int] = {}

    def start(self, dockfile: str, port: str, folder: Path, role: str = "all") -> int:
        """Start a service unless it runs already, and return the port it really listens on."""
        key = f"{dockfile}:{port}" if dockfile.startswith("config/") else f"{folder}:{port}"
        if key not in self._ports:
            port_here = free_port()
            self.stack.enter_context(self._running(dockfile, port_here, folder, role))
            self._ports[key] = port_here
        return self._ports[key]

    def _running(self, dockfile: str, port: int, folder: Path, role: str) -> Any:
        variables = {"DOCKRION_API_KEY": KEY, "PUSH_TOKEN": KEY}
        if dockfile == "config/sidecar.yaml":
            variables["AGENT_URL"] = self.stack.enter_context(agent_process())
        if dockfile == "config/redis.yaml" and not any(key.startswith(dockfile) for key in self._ports):
            delete_keys(KINDS[0], "shared-writer")  # of earlier tests, before the first replica starts
        return running(folder / dockfile, port, folder, role, **variables)


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    services = Services()
    with services.stack:
        yield services


class Walk:
    """Executes the blocks of one page in order, and collects the commands and their output."""

    def __init__(self, page: Path, folder: Path, services: Services) -> None:
        self.printed: list[tuple[str, str]] = []
        self._folder = folder
        self._directory = folder  # the working directory
        self._services = services
        self._dockfiles = {"8080": ("config/Dockfile.yaml", "all")}
        for name in ("config", "tests"):
            (folder / name).symlink_to(ROOT / name)
        for block in blocks(page):
            self._process(block)

    def _process(self, block: Block) -> None:
        match block.language:
            case "python":
                (self._folder / block.file_name).write_text(block.text)
            case "yaml" if "version:" in block.text:
                (self._folder / "Dockfile.yaml").write_text(_LOCALHOST.sub(self._known_url, block.text))
            case "console":
                for dockfile, port, role in _SERVES.findall(block.text):
                    path = self._directory / (dockfile or "Dockfile.yaml")
                    self._dockfiles[port or "8080"] = str(path.relative_to(self._folder)), role or "all"
            case "sh" if block.text not in (RUN, TEST):
                self._run(block)

    def _run(self, block: Block) -> None:
        here = _LOCALHOST.sub(lambda match: self._url(match[2], match[1]), block.text)
        variables = {"DOCKRION_API_KEY": KEY, "PUSH_TOKEN": KEY}
        if block.text.startswith(("python ask.py", "dockrion invoke")):
            variables["DOCKRION_URL"] = self._url("8080")
        output, self._directory = shell_session(here, self._directory, **variables)
        assert shows(output, block.output), (block.text, block.output, output)
        self.printed.append((block.text, output))

    def _known_url(self, match: re.Match[str]) -> str:
        """Return the URL of a service that the page has described, any other URL as it is."""
        return self._url(match[2], match[1]) if match[2] in self._dockfiles else match[0]

    def _url(self, port: str, scheme: str = "http") -> str:
        dockfile, role = self._dockfiles[port]
        return f"{scheme}://127.0.0.1:{self._services.start(dockfile, port, self._folder, role)}"


def shows(output: str, expected: str) -> bool:
    """Return whether an output contains the expected text; `…` matches anything, white space is ignored."""
    parts = "".join(expected.split()).split("…")
    return re.search(".*".join(map(re.escape, parts)), "".join(output.split()), re.DOTALL) is not None


def has(*parts: str) -> Callable[[str], bool]:
    return lambda output: all(part in output for part in parts)


def types_of(output: str) -> list[str]:
    return re.findall(r"^event: (.*)$", output, re.MULTILINE)


def streams(*types: str) -> Callable[[str], bool]:
    """Return a check that a stream has exactly these types between `started` and `complete`."""

    def check(output: str) -> bool:
        first, *others, last = types_of(output)
        return (first, last) == ("started", "complete") and set(others) == set(types)

    return check


def ran_twice(output: str) -> bool:
    return output.count("event: started") == 1 and output.count("event: complete") == 2


def pushed_every_type(output: str) -> bool:
    pushed = events.CONFIGURABLE.keys() - {"input_requested", "input_received"}  # nobody would answer
    return set(types_of(output)) == {"started", *pushed, "custom:mood", "complete"}


def resumed_behind_6(output: str) -> bool:
    first, _, rest = output.partition("event: complete")
    return all(f"id: {number}\n" in first for number in (1, 6, 7)) and (
        "id: 7\n" in rest and "id: 6\n" not in rest
    )


# More checks of outputs, by a fragment of the commands.
CHECKS: dict[str, Callable[[str], bool]] = {
    "/invoke/stream --json": has("event: started", "event: complete"),
    "localhost:8087/invoke/stream": streams("token", "progress", "custom:mood"),
    "localhost:8088/invoke/stream": streams("progress", "step"),
    "localhost:8089/invoke/stream": streams("step", "token"),
    "?run_id=my-first-run": ran_twice,
    "?run_id=read-twice": resumed_behind_6,
    "?run_id=shared": resumed_behind_6,
    "/runs/my-first-run\n": has('"status":"completed"'),
    "/openapi.json": has('"openapi":"3.1', '"asyncapi":"3.0'),
    "config/agents/push.sh": pushed_every_type,
    "dockrion --version": has("dockrion ", "usage: dockrion run", '"$schema"'),
    "tests.bench": has("requests/s", "runs/s", "from the start to /ready", "MiB"),
}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_examples_of_a_page_work_as_written(page: Path, tmp_path: Path, services: Services) -> None:
    for commands, output in Walk(page, tmp_path, services).printed:
        for part, check in CHECKS.items():
            assert part not in commands or check(output), (commands, output)


def test_every_check_matches_an_example() -> None:
    commands = [block.text for page in PAGES for block in blocks(page, "sh")]
    assert all(any(part in text for text in commands) for part in CHECKS)


def test_each_of_the_two_setup_commands_is_one_complete_line() -> None:
    assert [block.text for block in blocks(README, "sh")[:2]] == [RUN, TEST]
    assert shlex.split(RUN.strip())[-3:] == [".venv/bin/dockrion", "run", "config/Dockfile.yaml"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_dockfiles_load_without_warnings(page: Path, tmp_path: Path) -> None:
    whole = yaml.safe_load(blocks(README, "yaml")[0].text)
    for block in blocks(page, "yaml"):
        path = tmp_path / "Dockfile.yaml"
        parts = yaml.safe_load(block.text)
        path.write_text(block.text if "version" in parts else yaml.safe_dump(whole | parts))
        loaded = load(path, environ={"DOCKRION_API_KEY": KEY})
        assert not loaded.warnings
        assert not loaded.missing_secrets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_console_blocks_parse(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "payload.json").write_text("{}")
    for block in blocks(page, "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("dockrion "):
                words = shlex.split(line.partition(" > ")[0])[1:]
                assert_parses(words, capsys)


def assert_parses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Parse a command line; `--help` ends the program before it does anything."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert (end.value.code, capsys.readouterr().err) == (0, "")


def test_every_language_of_a_code_block_is_tested() -> None:
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages == {"sh", "console", "python", "yaml", "js", "jsx", "text"}


def test_a_wrong_key_is_refused(tmp_path: Path, services: Services) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    port = services.start("config/guarded.yaml", "8086", tmp_path)
    refused = shell(f"curl http://127.0.0.1:{port}/invoke -H 'X-API-Key: wrong' --json '{{}}'", tmp_path)
    assert '"code":"AUTH_ERROR"' in refused


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: str(path.stem))
def test_each_dockfile_in_config_works(path: Path, tmp_path: Path, services: Services) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    port = services.start(f"config/{path.name}", PORTS.get(path.stem, "any"), tmp_path)
    body = '{"topic": "Rain", "word": "rain", "words": 2, "pause_ms": 0}'
    asked = f"-H 'X-API-Key: {KEY}' --json '{body}'"
    stream = shell(f"curl -sN http://127.0.0.1:{port}/invoke/stream {asked}", ROOT)
    invoked = shell(f"curl -s http://127.0.0.1:{port}/invoke {asked}", ROOT)
    assert "event: token" in stream
    assert "event: complete" in stream
    assert '"success":true' in invoked


PORTS = {"Dockfile": "8080", "redis": "8081", "sidecar": "8084", "pushed": "8085", "guarded": "8086"}
