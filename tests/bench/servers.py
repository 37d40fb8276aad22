"""The servers that the benchmarks measure, each in a process."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
_TICK = os.sysconf("SC_CLK_TCK")
_DOCKFILE = """
version: "1.0"
agent: {{name: bench, handler: "tests.bench.agent:emit"}}
io_schema: {{}}
expose: {{host: 127.0.0.1, port: {port}, protocols: {protocols}}}
streaming:
  backend: {backend}
  max_concurrent_runs: {slots}
  max_queued_runs: 100000
  redis: {{url: "{redis}", max_events_per_run: 100000, stream_ttl_seconds: 60}}
  connection: {{max_subscribers_per_run: 1000}}
observability: {{log_level: error, tracing: {tracing}}}
"""
_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
load_module {module};
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  nchan_shared_memory_size 256m;
  server {{
    listen 127.0.0.1:{port};
    location = /ready {{ return 200; }}
    location ~ ^/publish/(.+)$ {{
      nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 100000; nchan_message_timeout 60s;
    }}
    location ~ ^/subscribe/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; }}
  }}
}}
"""
_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


@dataclass
class Server:
    """A server process."""

    url: str
    pid: int
    seconds_to_ready: float

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Pin the server and this process to different cores, so that neither waits for the other's."""
        cores = os.sched_getaffinity(0)
        if len(cores) > 1:
            os.sched_setaffinity(self.pid, {min(cores)})
            os.sched_setaffinity(0, {max(cores)})
        try:
            yield
        finally:
            os.sched_setaffinity(self.pid, cores)
            os.sched_setaffinity(0, cores)


@contextmanager
def dockrion(
    backend: str = "memory",
    redis: str = "redis://localhost",
    *arguments: str,
    slots: int = 100,
    checkout: Path = ROOT,
    protocols: Sequence[str] = (),
    tracing: str = "false",
) -> Iterator[Server]:
    """Run the service of a checkout, with more arguments of `dockrion run`."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        dockfile = Path(folder) / "Dockfile.yaml"
        names = json.dumps(list(protocols))
        dockfile.write_text(
            _DOCKFILE.format(
                port=port, backend=backend, redis=redis, slots=slots, protocols=names, tracing=tracing
            )
        )
        command = [sys.executable, "-m", "dockrion", "run", str(dockfile), *arguments]
        with _process(command, port, checkout) as server:
            yield server


@contextmanager
def sample() -> Iterator[Server]:
    """Run the default Dockfile."""
    port = _free_port()
    command = [sys.executable, "-m", "dockrion", "run", "config/Dockfile.yaml", "--port", str(port)]
    with _process(command, port) as server:
        yield server


@contextmanager
def bare() -> Iterator[Server]:
    port = _free_port()
    with _process([sys.executable, "-m", "tests.bench.bare", str(port)], port) as server:
        yield server


@contextmanager
def nchan() -> Iterator[Server | None]:
    """Run nginx with nchan, if it is installed (Debian: nginx-light, libnginx-mod-nchan)."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not (_MODULE.exists() and Path(nginx).exists()):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = _free_port()
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, module=_MODULE))
        server = stack.enter_context(_process([nginx, "-c", str(config), "-e", f"{folder}/error"], port))
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        server.pid = int(children[0])
        yield server


@contextmanager
def _process(command: list[str], port: int, checkout: Path = ROOT) -> Iterator[Server]:
    started = time.perf_counter()
    url = f"http://127.0.0.1:{port}"
    env = os.environ | {"PYTHONPATH": str(checkout)}
    with subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_until_ready(port)
            yield Server(url, process.pid, time.perf_counter() - started)
        finally:
            process.terminate()


def _wait_until_ready(port: int) -> None:
    """Poll /ready with a plain socket, as the start-up of an HTTP client would be measured, too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if b" 200 " in probe.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.002)
    raise SystemExit("the server did not become ready")


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
