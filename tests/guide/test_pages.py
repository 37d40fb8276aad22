"""The README's examples are run, and its tables are held against the code."""

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockrion import StreamContext, errors, events
from dockrion.dockfile import load
from dockrion.dockfile.reference import table
from dockrion.errors import DockrionError
from dockrion.metrics import Metrics
from dockrion.web.app import create_app
from tests.backends.conformance import forget
from tests.guide.services import KEY, ROOT, agent_process, free_port, running, shell
from tests.servers import KINDS
from tests.support import dockfile

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SETUP = "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install --quiet "
RUN = SETUP + ". && .venv/bin/dockrion run config/Dockfile.yaml\n"
TEST = SETUP + "--editable '.[dev]' && .venv/bin/pytest\n"


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def rows(*header: str) -> list[list[str]]:
    """Return the cells of the table with this header."""
    start = README.index("| " + " | ".join(header) + " |")
    lines = README[start:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_each_of_the_two_commands_is_one_line_that_sets_up_all_it_needs() -> None:
    assert blocks("sh")[:2] == [RUN, TEST]


def test_the_run_command_serves_the_default_dockfile() -> None:
    served = shlex.split(RUN.strip())[-3:]
    assert served == [".venv/bin/dockrion", "run", "config/Dockfile.yaml"]
    with running(ROOT / served[-1], free_port(), ROOT):
        pass


def test_curl_examples_do_what_they_say() -> None:
    port = free_port()
    examples = [block for block in blocks("sh") if "localhost:8080" in block]
    with running(ROOT / "config/Dockfile.yaml", port, ROOT):
        outputs = [shell(block.replace("localhost:8080", f"127.0.0.1:{port}"), ROOT) for block in examples]
    invoked, pattern_a, pattern_b, cancelled, refused, described, resumed, lines, polled, loaded = outputs
    assert '"text":"Rain is a fine thing"' in invoked
    assert "event: token" in pattern_a
    assert "event: complete" in pattern_a
    assert pattern_b.count("event: started") == 1
    assert pattern_b.count("event: complete") == 2
    assert '"status":"completed"' in pattern_b
    assert '{"run_id":"too-long","status":"cancelled"}' in cancelled
    assert '"code":"VALIDATION_ERROR","details":[{"path":"$' in refused
    assert lines.startswith('{"id":"')
    assert '"next_sequence":4' in polled
    assert '"openapi":"3.1' in described
    assert '"asyncapi":"3.0' in described
    assert re.search(r"succeeded +50\n", loaded)
    assert "violations: 0" in loaded
    assert "id: 6\n" not in resumed
    assert "id: 7\n" in resumed


def test_the_walk_through_two_replicas_does_what_it_says() -> None:
    forget(KINDS[0], "shared-writer")
    one, other = free_port(), free_port()
    ports = {"localhost:8081": f"127.0.0.1:{one}", "localhost:8082": f"127.0.0.1:{other}"}
    examples = [block for block in blocks("sh") if "localhost:8081" in block]
    dockfile = ROOT / "config/redis.yaml"
    with running(dockfile, one, ROOT), running(dockfile, other, ROOT):
        for name, address in ports.items():
            examples = [block.replace(name, address) for block in examples]
        watched, cancelled = (shell(block, ROOT) for block in examples)
    first, _, rest = watched.partition("event: complete")
    assert "event: started" in first
    assert "id: 7\n" in first
    assert "id: 6\n" in first
    assert "id: 7\n" in rest
    assert "id: 6\n" not in rest
    assert '{"run_id":"endless","status":"cancelled"}' in cancelled


def test_command_examples_run() -> None:
    for block in blocks("sh")[2:]:
        if block.startswith("dockrion --version"):
            output = shell(block, ROOT)
            assert output.startswith("dockrion ")
            assert "usage: dockrion run" in output
            assert '"$schema"' in output
            return
    pytest.fail("the README shows no commands")


def test_the_benchmark_prints_its_figures() -> None:
    [command] = [block for block in blocks("sh") if "tests.bench" in block]
    printed = shell(command, ROOT)
    for figure in ("requests/s", "runs/s", "from the start to /ready", "MiB"):
        assert figure in printed


def test_your_own_agent_works_as_written(tmp_path: Path) -> None:
    for block in blocks("python"):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    first = blocks("yaml")[0]
    (tmp_path / "Dockfile.yaml").write_text(first)
    summary = shell("dockrion validate Dockfile.yaml", tmp_path)
    assert "greeter" in summary
    assert blocks("sh")[6:8] == ["dockrion validate Dockfile.yaml\n", "dockrion run Dockfile.yaml\n"]
    port = free_port()
    with running(tmp_path / "Dockfile.yaml", port, tmp_path):
        url = f"http://127.0.0.1:{port}/invoke"
        answer = shell(f"""curl --fail-with-body {url} --json '{{"name": "Ada"}}'""", tmp_path)
        assert '"output":{"greeting":"Hello, Ada!"}' in answer


def test_the_generator_example_works_as_written(tmp_path: Path) -> None:
    [text] = [block for block in blocks("python") if block.startswith("# generator.py")]
    (tmp_path / "generator.py").write_text(text)
    (tmp_path / "Dockfile.yaml").write_text(
        blocks("yaml")[0].replace("agent:answer", "generator:answer").replace("[name]", "[]")
    )
    port = free_port()
    with running(tmp_path / "Dockfile.yaml", port, tmp_path):
        stream = shell(f"curl -sN http://127.0.0.1:{port}/invoke/stream --json '{{}}'", tmp_path)
    types = re.findall(r"^event: (.*)$", stream, re.MULTILINE)
    assert types == ["started", "token", "token", "progress", "custom:mood", "complete"]
    assert '"output":{"answer":"Hello"}' in stream


@pytest.mark.parametrize(("module", "steps"), [("graph", ["progress", "step"]), ("chain", ["step", "token"])])
def test_the_examples_of_frameworks_work_as_written(module: str, steps: list[str], tmp_path: Path) -> None:
    [code] = [block for block in blocks("python") if block.startswith(f"# {module}.py")]
    [dockfile] = [block for block in blocks("yaml") if f"entrypoint: {module}:make" in block]
    (tmp_path / f"{module}.py").write_text(code)
    (tmp_path / "Dockfile.yaml").write_text(dockfile)
    port = free_port()
    body = '{"name": "Ada"}'
    with running(tmp_path / "Dockfile.yaml", port, tmp_path):
        stream = shell(f"curl -sN http://127.0.0.1:{port}/invoke/stream --json '{body}'", tmp_path)
    types = re.findall(r"^event: (.*)$", stream, re.MULTILINE)
    assert types[0] == "started"
    assert set(types[1:-1]) == set(steps)
    assert types[-1] == "complete"
    assert "Hello" in stream


def test_the_walk_through_a_sidecar_does_what_it_says() -> None:
    port = free_port()
    examples = [block.replace("localhost:8084", f"127.0.0.1:{port}") for block in blocks("sh")]
    examples = [block for block in examples if f"127.0.0.1:{port}" in block]
    with agent_process() as url, running(ROOT / "config/sidecar.yaml", port, ROOT, AGENT_URL=url):
        asked, pushed = (shell(block, ROOT) for block in examples)
    assert '"output":{"spelt":"r-a-i-n"}' in asked
    types = re.findall(r"^event: (.*)$", pushed, re.MULTILINE)
    every_type = [*events.CONFIGURABLE, "custom:mood"]
    assert sorted(set(types)) == sorted(["started", *every_type, "complete"])


def test_the_walk_through_keys_does_what_it_says() -> None:
    port = free_port()
    [example] = [block for block in blocks("sh") if "localhost:8086" in block]
    with running(ROOT / "config/guarded.yaml", port, ROOT, DOCKRION_API_KEY=KEY):
        asked = example.replace("localhost:8086", f"127.0.0.1:{port}")
        answered = shell(f"DOCKRION_API_KEY={KEY}\n{asked}", ROOT)
        refused = shell(f"DOCKRION_API_KEY=wrong\n{asked.replace('--fail-with-body', '')}", ROOT)
    assert '"output":{"text":"rain is a"' in answered
    assert '"code":"AUTH_ERROR"' in refused


def test_the_client_examples_do_what_they_say(tmp_path: Path) -> None:
    [script] = [block for block in blocks("python") if block.startswith("# ask.py")]
    [commands] = [block for block in blocks("sh") if block.startswith("dockrion invoke")]
    (tmp_path / "ask.py").write_text(script)
    port = free_port()
    with running(ROOT / "config/Dockfile.yaml", port, ROOT):
        here = f"export DOCKRION_URL=http://127.0.0.1:{port}\n"
        asked = shell(f"{here}python ask.py", tmp_path)
        shown = shell(here + commands, tmp_path)
    assert "Rain is a fine thing" in asked
    assert "output: {'text': 'Rain is a fine thing'" in asked
    assert re.search(r"^\['checkpoint', .*'complete'\]$", asked, re.MULTILINE)
    assert "Run(run_id=" in asked
    assert "status='completed'" in asked
    assert "\nRain is a fine thing\n* write (" in shown
    assert '"type":"complete"' in shown.splitlines()[-1]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_examples_are_sound(text: str, tmp_path: Path) -> None:
    whole: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    path = tmp_path / "Dockfile.yaml"
    path.write_text(text if "version:" in text else yaml.safe_dump(whole | yaml.safe_load(text)))
    loaded = load(path, environ={})
    assert not loaded.warnings
    assert not loaded.missing_secrets


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: str(path.stem))
def test_each_dockfile_in_config_runs_as_it_is(path: Path) -> None:
    port = free_port()
    with agent_process() as url, running(path, port, ROOT, AGENT_URL=url, DOCKRION_API_KEY=KEY):
        body = '{"topic": "Rain", "word": "rain", "words": 2, "pause_ms": 0}'
        asked = f"-H 'X-API-Key: {KEY}' --json '{body}'"
        stream = shell(f"curl -sN http://127.0.0.1:{port}/invoke/stream {asked}", ROOT)
        invoked = shell(f"curl -s http://127.0.0.1:{port}/invoke {asked}", ROOT)
    assert "event: token" in stream
    assert "event: complete" in stream
    assert '"success":true' in invoked


def test_the_dockfile_table_is_the_code_s() -> None:
    assert table().strip() in README


async def test_the_endpoint_table_names_every_route(tmp_path: Path) -> None:
    sections = {
        "streaming": {"ingest": {"enabled": True}},
        "expose": {"streaming": "websocket"},
        "auth": {},
    }
    app = create_app(dockfile(tmp_path, sections))
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    assert {names(row[0])[0] for row in rows("method and path", "there when", "answers")} == routes


def test_the_error_table_names_every_error() -> None:
    kinds = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DockrionError)
    }
    coded = {(str(kind.status), kind.code) for kind in kinds}
    assert {(row[0], names(row[1])[0]) for row in rows("status", "code", "when")} == coded


def test_the_event_table_names_every_type_with_its_fields() -> None:
    types = events.MANDATORY | events.CONFIGURABLE
    own = {
        name: [field for field in kind.__struct_fields__ if field not in events.COMMON_FIELDS]
        for name, kind in types.items()
    }
    shown = {names(row[0])[0]: names(row[1]) for row in rows("type", "fields", "note")[:-1]}
    assert shown == own


def test_the_preset_table_is_the_code_s() -> None:
    shown = {
        names(row[0])[0]: set(names(row[1])) for row in rows("preset", "passes, beside what always passes")
    }
    assert shown == events.PRESETS


def test_the_context_table_names_every_method_and_its_signature() -> None:
    shown = dict(names(row[0] + row[1]) for row in rows("async", "sync twin"))
    refused = {"emit_started", "emit_complete", "emit_error", "emit_cancelled"}
    for declared, twin in shown.items():
        name = declared.partition("(")[0]
        parameters = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in inspect.signature(getattr(StreamContext, name)).parameters.values()
            if parameter.name != "self"
        ]
        signature = str(inspect.Signature(parameters))
        assert declared == name + signature.replace("self, ", "")
        assert hasattr(StreamContext, twin)
    emits = {name for name in vars(StreamContext) if name.startswith("emit") or name == "checkpoint"}
    assert {declared.partition("(")[0] for declared in shown} == emits - refused


def test_the_metrics_table_names_every_metric() -> None:
    exposed = set(re.findall(r"^# HELP (\S+)", Metrics().exposition().decode(), re.MULTILINE))
    created = {name for name in exposed if name.endswith("_created")}
    assert {names(row[0])[0] for row in rows("metric", "what")} == exposed - created
