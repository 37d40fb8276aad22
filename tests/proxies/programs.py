"""nginx, HAProxy and Caddy, with the configurations in `config/deploy`."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tests.e2e.process import environment
from tests.guide.services import ROOT
from tests.servers import TIMEOUT_SECONDS, free_port

FOLDER = ROOT / "config/deploy"
SILENCE_SECONDS = 6  # after which an impatient proxy gives a connection up; heartbeats may be late
_REPLICA = re.compile(r"replica-(\d):8080")


@dataclass(frozen=True)
class Program:
    """A proxy that is installed on this machine.

    Attributes:
        name: The program.
        package: Debian's package of it.
        file: Its configuration in `config/deploy`.
        check: The arguments that check a configuration.
        serve: The arguments that run the proxy in the foreground.
        adapt: Changes what else a test needs: the ports, certificates and temporary files.
        time_outs: What is replaced to give connections up after a silence of `SILENCE_SECONDS`.
    """

    name: str
    package: str
    file: str
    check: tuple[str, ...]
    serve: tuple[str, ...]
    adapt: "Callable[[str, Front], str]"
    time_outs: str = ""

    def impatient(self) -> Self:
        """Return the program with time-outs that a test can wait for."""
        if not self.time_outs:
            return self
        pattern = rf"({self.time_outs}) \d+s"

        def adapt(text: str, front: Front) -> str:
            text, count = re.subn(pattern, rf"\1 {SILENCE_SECONDS}s", text)
            assert count, f"{self.file} has no {self.time_outs}"
            return self.adapt(text, front)

        return replace(self, adapt=adapt)

    def command(self, arguments: tuple[str, ...], path: Path) -> list[str]:
        """Return a command on the configuration at a path."""
        found = shutil.which(self.name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        assert found, f"the tests need {self.name}: install Debian's {self.package}"
        return [found, *(each.format(path=path, folder=path.parent) for each in arguments)]

    def configuration(self, replicas: list[int]) -> str:
        """Return the configuration with the ports of replicas on this machine."""
        text = (FOLDER / self.file).read_text()
        return _REPLICA.sub(lambda match: f"127.0.0.1:{replicas[(int(match[1]) - 1) % len(replicas)]}", text)


class Front:
    """A proxy that runs in front of replicas.

    Args:
        program: Which one.
        folder: Where its files go, a new folder.
        replicas: The ports of the replicas: one for each in the configuration, or one for all.
        certificate: The file of a certificate and its key.
    """

    def __init__(self, program: Program, folder: Path, replicas: list[int], certificate: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.certificate = certificate
        self.port, self.tls_port = free_port(), free_port()
        self._program = program
        path = self.folder / program.file
        path.write_text(program.adapt(program.configuration(replicas), self))
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                program.command(program.serve, path),
                env=environment(HOME=str(self.folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    def wait(self) -> Self:
        """Wait until it accepts connections."""
        for port in (self.port, self.tls_port):
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while not _accepts(port):
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.01)
        return self

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(TIMEOUT_SECONDS)
        finally:
            self._process.kill()


def _accepts(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def replaced(text: str, **lines: str) -> str:
    """Replace the rest of each line that begins with a word."""
    for word, rest in lines.items():
        text, count = re.subn(rf"^(\s*){word}\b.*$", rf"\g<1>{rest}", text, flags=re.MULTILINE)
        assert count == 1, f"{count} lines begin with {word}"
    return text


def _uncommented(text: str) -> str:
    """Uncomment what is for TLS, and for a service below a path."""

    def uncomment(match: re.Match[str]) -> str:
        return re.sub(r"(?m)^([ \t]*)# ", r"\1", match[1])

    return re.sub(r"(?m)^[ \t]*# For .*:\n((?:[ \t]*# .*\n)+)", uncomment, text)


def _nginx(text: str, front: Front) -> str:
    text = _uncommented(text).replace("listen 8080", f"listen 127.0.0.1:{front.port}")
    text = text.replace("listen 8443", f"listen 127.0.0.1:{front.tls_port}")
    text = replaced(
        text,
        ssl_certificate=f"ssl_certificate {front.certificate};",
        ssl_certificate_key=f"ssl_certificate_key {front.certificate};",
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = (f"{kind}_temp_path {front.folder / kind};" for kind in kinds)
    return text.replace("http {", f"http {{ access_log off; {' '.join(paths)}")


def _haproxy(text: str, front: Front) -> str:
    text = _uncommented(text).replace("bind :8080", f"bind 127.0.0.1:{front.port}")
    text = text.replace("bind :8443", f"bind 127.0.0.1:{front.tls_port}")
    return text.replace("/etc/haproxy/tls.pem", str(front.certificate))


def _caddy(text: str, front: Front) -> str:
    text = _uncommented(text).replace(":8080 {", "(agent) {\n\tbind 127.0.0.1", 1)
    text = text.replace("admin off", "admin off\n\tauto_https off")
    keys = f"tls {front.certificate} {front.certificate}"
    return f"{text}\n{front.url} {{\n\timport agent\n}}\n{front.tls_url} {{\n\timport agent\n\t{keys}\n}}\n"


PROGRAMS = [
    Program(
        "nginx",
        "nginx-light",
        "nginx.conf",
        check=("-t", "-q", "-c", "{path}", "-g", "pid {folder}/pid;", "-e", "stderr"),
        serve=("-c", "{path}", "-g", "daemon off; master_process off; pid {folder}/pid;", "-e", "stderr"),
        adapt=_nginx,
        time_outs="proxy_read_timeout",
    ),
    Program(
        "haproxy",
        "haproxy",
        "haproxy.cfg",
        check=("-c", "-q", "-dW", "-f", "{path}"),
        serve=("-db", "-f", "{path}"),
        adapt=_haproxy,
        time_outs="timeout (?:client|server)",
    ),
    Program(
        "caddy",
        "caddy",
        "Caddyfile",
        check=("validate", "--adapter", "caddyfile", "--config", "{path}"),
        serve=("run", "--adapter", "caddyfile", "--config", "{path}"),
        adapt=_caddy,
    ),
]
