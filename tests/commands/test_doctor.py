"""`dockrion doctor`: a line for each thing that a start needs, and what to do about what is missing."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dockrion
from dockrion.backends.redis import client
from dockrion.cli import main
from dockrion.commands import doctor
from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.dockfile.structs import Dockfile
from tests.conftest import Serve
from tests.e2e.process import write_dockfile
from tests.servers import KINDS, RedisServer, free_port, shared

OK = "def handle(payload):\n    return payload\n"
ANSWERS = " answers, and permits what the service needs"
Diagnose = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def diagnose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Diagnose:
    """Return the exit code of `dockrion doctor`, and its lines."""
    monkeypatch.chdir(tmp_path)

    def diagnose(code: str = OK, **sections: Any) -> tuple[int, list[str]]:
        expose = {"host": "127.0.0.1", "port": free_port()}
        write_dockfile(tmp_path, code, **({"expose": expose} | sections))
        status = main(["doctor"])
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, printed.out.splitlines()

    return diagnose


def test_everything_is_there(diagnose: Diagnose) -> None:
    code, lines = diagnose("print('imported')\n" + OK)
    assert code == 0
    assert all(line.startswith("ok    ") for line in lines)
    subjects = [line.removeprefix("ok    ").partition(":")[0] for line in lines]
    extras = ["extra langgraph", "extra langchain", "extra dev-server"]
    assert subjects == ["python", "dockrion", "Dockfile", *extras, "agent", "redis", "port"]
    assert f"dockrion: {dockrion.__version__}, with aiohttp 3." in lines[1]


def test_problems_of_the_dockfile_are_lines(diagnose: Diagnose) -> None:
    code, lines = diagnose(expose={"port": 0}, streaming={"events": {"allowed": "chatty"}}, typo=1)
    assert code == 1
    assert sum(line.startswith("fail  Dockfile: Dockfile.yaml:") for line in lines) == 2
    assert any(line.startswith("warn  Dockfile: Dockfile.yaml:") and "typo" in line for line in lines)


def test_a_file_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 1
    assert "fail  Dockfile: Dockfile.yaml: cannot be read" in capsys.readouterr().out


def test_an_agent_that_cannot_be_imported(diagnose: Diagnose) -> None:
    code, lines = diagnose("import nowhere_to_be_found")
    assert code == 1
    (line,) = (line for line in lines if line.startswith("fail"))
    assert line.startswith("fail  agent: agent.handler: importing 'agent' failed at ")
    assert line.endswith("; install it where dockrion is installed")


def test_secrets_are_named_and_never_shown(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "hunter2hunter2")
    code, lines = diagnose(
        "import os\nprint(os.environ['THERE'])\nraise ValueError(os.environ['THERE'])",
        secrets={"required": [{"name": "THERE"}, {"name": "ABSENT"}], "optional": [{"name": "EXTRA"}]},
        auth={"mode": "api_key"},
    )
    assert code == 1
    assert "ok    secret: THERE is set" in lines
    assert "ok    secret: EXTRA is not set, and optional" in lines
    (line,) = (line for line in lines if "ABSENT" in line)
    assert line.startswith("fail  secret: ABSENT, not set; write ABSENT=… to a file .env beside the Dockfile")
    assert any(
        line.startswith("fail  credentials: auth.api_keys.env_var: DOCKRION_API_KEY") for line in lines
    )
    assert "hunter2" not in "\n".join(lines)


def test_an_extra_that_the_agent_needs(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._EXTRAS, "langchain", ("not-installed-anywhere", "agents"))
    agent = {"name": "t", "entrypoint": "agent:make", "framework": "langchain"}
    code, lines = diagnose("def make(): return 1", agent=agent)
    assert code == 1
    assert "fail  extra langchain: not installed; pip install 'dockrion[langchain]'" in lines
    assert (
        "ok    extra langchain: not installed; for agents, pip install 'dockrion[langchain]'" in diagnose()[1]
    )


def test_a_redis_that_answers(diagnose: Diagnose) -> None:
    code, lines = diagnose(streaming={"backend": "redis", "redis": {"url": shared(KINDS[0]).url}})
    assert code == 0, lines
    assert any(line.startswith("ok    redis: redis://") and line.endswith(ANSWERS) for line in lines)


def test_a_redis_that_does_not(diagnose: Diagnose) -> None:
    url = "redis://me:hunter2hunter2@127.0.0.1:1/0"
    code, lines = diagnose(streaming={"backend": "redis", "redis": {"url": url}})
    assert code == 1
    (line,) = (line for line in lines if line.startswith("fail"))
    assert line.startswith("fail  redis: redis://127.0.0.1:1/0: ")
    assert "no connection, or no reply; is it running, and is the address right?" in line
    assert "hunter2" not in "\n".join(lines)


def test_a_redis_that_is_silent_is_not_awaited_for_long(
    diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_MOST_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        code, lines = diagnose(streaming={"backend": "redis", "redis": {"url": url}})
    assert code == 1
    assert f"fail  redis: {url}: no answer in time" in lines


def test_a_redis_that_hangs(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "_REPLY_SECONDS", 0.1)
    with RedisServer(KINDS[0], tmp_path) as server:
        server.pause()
        code, lines = diagnose(streaming={"backend": "redis", "redis": {"url": server.url}})
        server.resume()
    assert code == 1
    assert any(line.startswith("fail  redis: ") and "no connection, or no reply" in line for line in lines)


def test_a_user_of_redis_who_may_not_do_everything(diagnose: Diagnose, tmp_path: Path) -> None:
    with RedisServer(KINDS[0], tmp_path) as server:
        redis = {"url": server.least_privileged_url}
        code, lines = diagnose(streaming={"backend": "redis", "redis": redis})
        assert code == 0, lines
        server.command("ACL", "SETUSER", "least-privileged", "-incr", "-xread")
        code, lines = diagnose(streaming={"backend": "redis", "redis": redis})
    assert code == 1
    (line,) = (line for line in lines if line.startswith("fail"))
    assert line.endswith(
        ": the user of streaming.redis.url may not use: incr, xread; the guide lists what is needed"
    )


def test_a_redis_that_accepts_no_writes(diagnose: Diagnose, tmp_path: Path) -> None:
    with RedisServer(KINDS[0], tmp_path) as server:
        server.command("REPLICAOF", "127.0.0.1", 1)
        server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
        code, lines = diagnose(streaming={"backend": "redis", "redis": {"url": server.url}})
    assert code == 1
    assert any(line.startswith("fail  redis: ") and "read-only replica" in line for line in lines), lines


def test_a_redis_with_data_of_a_newer_version(diagnose: Diagnose, tmp_path: Path) -> None:
    with RedisServer(KINDS[0], tmp_path) as server:
        server.command("SET", "mine:tested:{service}:format", 99)
        redis = {"url": server.url, "key_prefix": "mine"}
        code, lines = diagnose(streaming={"backend": "redis", "redis": redis})
    assert code == 1
    assert any(line.startswith("fail  redis: ") and "has format 99" in line for line in lines)


def test_a_port_that_another_program_has(diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_REDIS_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        taken.close()
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            code, lines = diagnose(expose={"host": "127.0.0.1", "port": port})
    assert code == 1
    reason = (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose others with --host and --port"
    )
    assert lines[-1] == f"fail  port: {reason}"


async def test_a_port_that_this_agents_service_has(serve: Serve) -> None:
    served = await serve(expose={"host": "127.0.0.1"})
    for name, port, found in (
        ("tested", served.port, True),
        ("another", served.port, False),
        ("tested", 1, False),
    ):
        expose = ExposeSpec(host="127.0.0.1", port=port)
        assert await doctor._serves(Dockfile("1.0", AgentSpec(name=name), expose=expose)) is found


def test_an_agent_process_that_does_not_answer_is_a_warning(diagnose: Diagnose) -> None:
    code, lines = diagnose(agent={"name": "t", "url": "http://127.0.0.1:1/"})
    assert code == 0
    warning = "warn  agent: no process answers at http://127.0.0.1:1/; start it, or correct agent.url"
    assert warning in lines


def test_version_prints_what_the_option_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"dockrion {dockrion.__version__}\n"
