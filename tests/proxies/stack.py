"""Two replicas on one Redis, behind each of the proxies."""

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec

from tests.backends.conformance import delete_keys
from tests.e2e.process import command, environment, write_dockfile
from tests.proxies.programs import PROGRAMS, Front, Program
from tests.servers import KINDS, TIMEOUT_SECONDS, free_port, shared

# An agent that says each word, and waits for a file of that name before it goes on.
AGENT = """
import asyncio
from pathlib import Path

async def handle(payload, context):
    folder = Path(payload["folder"])
    (folder / "begun").touch()
    try:
        for word in payload["words"]:
            await context.emit_token(word)
            while not (folder / word).exists():
                await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        (folder / "cancelled").touch()
        raise
    return "x" * payload.get("size", 0)
"""


class Replica:
    """A replica of the service.

    Args:
        dockfile: What it serves.
        certificate: What verifies its certificate, if it has one.
    """

    def __init__(self, dockfile: Path, certificate: Path | None = None) -> None:
        self.port = free_port()
        self._context = None if certificate is None else ssl.create_default_context(cafile=certificate)
        self._log = dockfile.parent / f"{self.port}.log"
        self._command = command(
            "run", dockfile, "--host", "127.0.0.1", "--port", str(self.port), "--grace", "10"
        )
        self.start()

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, for the first time or again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._log.parent, env=environment(), stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            with suppress(OSError), urlopen(f"{self.url}/ready", context=self._context):
                return
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def requests(self) -> list[dict[str, Any]]:
        """Return the log's lines about requests."""
        lines = (line for line in self._log.read_bytes().splitlines(True) if line.endswith(b"\n"))
        decoded = map(msgspec.json.decode, lines)
        return [line for line in decoded if line["logger"] == "dockrion.requests"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def signal(self) -> None:
        """Tell it to end, as a deployment does."""
        self._process.terminate()

    def exit_code(self) -> int:
        return self._process.wait(TIMEOUT_SECONDS)

    def end(self) -> None:
        """End it as a deployment does, and assert that it ends cleanly."""
        self.signal()
        try:
            assert self.exit_code() == 0
        finally:
            self.kill()


@dataclass
class Stack:
    """What runs.

    Attributes:
        replicas: The replicas.
        fronts: The proxies by name.
        certificate: What verifies the proxies' certificates.
    """

    replicas: list[Replica]
    fronts: dict[str, Front]
    certificate: Path


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """Run replicas and impatient proxies; `test_long_silence` waits for what is in the files."""
    agent = f"proxied-{os.getpid()}"
    dockfile = write_dockfile(
        folder,
        AGENT,
        agent={"name": agent, "handler": "agent:handle"},
        expose={
            "streaming": "websocket",
            "trusted_proxies": ["127.0.0.1"],
            "cors": {"origins": ["https://elsewhere.example"]},
        },
        streaming={
            "backend": "redis",
            "redis": {"url": shared(KINDS[0]).url},
            "events": {"heartbeat_interval": 1},
        },
    )
    certificate = make_certificate(folder)
    with ExitStack() as stack:
        stack.callback(delete_keys, KINDS[0], agent)
        replicas = [Replica(dockfile) for _ in range(2)]
        for replica in replicas:
            stack.callback(replica.end)
        for replica in replicas:
            replica.wait()  # a proxy that does not find them ready waits for its next check
        programs = {program.name: program.impatient() for program in PROGRAMS}
        yield stack.enter_context(in_front(programs, folder, replicas, certificate))


@contextmanager
def in_front(
    programs: dict[str, Program], folder: Path, replicas: list[Replica], certificate: Path
) -> Iterator[Stack]:
    """Run proxies in front of replicas, in folders of their names."""
    ports = [replica.port for replica in replicas]
    with ExitStack() as stack:
        fronts = {}
        for name, program in programs.items():
            fronts[name] = front = Front(program, folder / name, ports, certificate)
            stack.callback(front.end)
        for front in fronts.values():
            front.wait()
        yield Stack(replicas, fronts, certificate)


def make_certificate(folder: Path) -> Path:
    """Make a certificate and its key, in one file; the key is also in `key.pem`."""
    key, path = folder / "key.pem", folder / "tls.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-subj", "/CN=tested", "-addext", "subjectAltName=IP:127.0.0.1,DNS:writer.internal"),
            *("-keyout", str(key), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + key.read_text())
    return path
