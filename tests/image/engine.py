"""Build and run images with buildah, podman and runc, in a store of their own."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PROGRAMS = (
    "buildah",
    "podman",
    "runc",
    "conmon",
    "mmdebstrap",
    "unshare",
    "nsenter",
    "ip",
    "curl",
    "redis-server",
)

LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")  # not more than this machine may allow
_RUN = (
    "--pull=never",
    "--read-only-tmpfs=false",  # as in Docker, /dev/shm is all that can be written to
    "--log-driver=k8s-file",
    "--health-interval=disable",  # podman leaves the intervals to systemd
    *LIMITS,
)

_COMMAND_SECONDS = 1800.0  # a build beside the tests waits for them on a busy machine


@dataclass(frozen=True)
class Engine:
    """The programs, and where their images and containers are.

    Attributes:
        folder: The store.
        driver: How layers are stored: `overlay`, or `vfs`, which copies all files for each instruction.
    """

    folder: Path
    driver: str

    def buildah(self, *arguments: str) -> str:
        return run("buildah", *self._store(), *arguments)

    def podman(self, *arguments: str) -> str:
        return run(*self._podman(), *arguments)

    def build(self, tag: str, context: Path) -> str:
        """Build a Dockerfile, from images of the store only, and return what was printed."""
        return run(*self._build(), "--tag", tag, str(context))

    def shell(self, text: str, folder: Path) -> str:
        """Run commands in which `docker` is these programs, beside a Redis in a network of their own."""
        build = shlex.join(("nsenter", f"--net=/proc/{os.getpid()}/ns/net", *self._build()))
        start = shlex.join((*self._podman(), "run", "--network", "host", *_RUN))
        docker = f"""
            ip link set lo up
            redis-server --port 6379 --save "" >/dev/null &
            trap "kill $!" EXIT
            export REDIS_URL=redis://localhost:6379/0
            docker() {{
                case $1 in
                    build) {build} "${{@:2}}" ;;
                    run) {start} "${{@:2}}" ;;
                    *) {shlex.join(self._podman())} "$@" ;;
                esac
            }}
        """
        script = f"cd {shlex.quote(str(folder))}\n{docker}\n{text}"
        return run("unshare", "--net", "bash", "-euo", "pipefail", "-c", script)

    def inspect(self, image: str) -> dict[str, Any]:
        (found,) = json.loads(self.podman("image", "inspect", image))
        return dict(found)

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """Provide the files of an image."""
        container = self.buildah("from", "--pull-never", image).strip()
        try:
            yield Path(self.buildah("mount", container).strip())
        finally:
            self.buildah("rm", container)

    @contextmanager
    def running(
        self, image: str, folder: Path, *arguments: str, options: Sequence[str] = ()
    ) -> Iterator["Container"]:
        """Run an image on a read-only root with a folder at /app, without a network, until the block ends.

        Args:
            image: The image.
            folder: What is mounted at /app, read-only.
            arguments: Replace the command of the image.
            options: More options of `podman run`.
        """
        restrictions = ("--read-only", "--network", "none", "--volume", f"{folder}:/app:ro")
        command = ("run", "--detach", *_RUN, *restrictions, *options, image, *arguments)
        container = Container(self, self.podman(*command).strip())
        try:
            yield container
        finally:
            self.podman("rm", "--force", "--time", "0", container.id)

    def close(self) -> None:
        """Remove all containers and images."""
        self.buildah("rm", "--all")
        self.podman("system", "reset", "--force")

    def _store(self) -> tuple[str, ...]:
        root, state = str(self.folder / "root"), str(self.folder / "state")
        return ("--root", root, "--runroot", state, "--storage-driver", self.driver)

    def _build(self) -> tuple[str, ...]:
        options = ("--isolation", "chroot", "--format", "docker", "--layers", "--pull-never")
        return ("buildah", *self._store(), "bud", *options)

    def _podman(self) -> tuple[str, ...]:
        return ("podman", *self.podman_options)

    @property
    def podman_options(self) -> tuple[str, ...]:
        """The options of every podman command."""
        process = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
        return (*self._store(), "--tmpdir", str(self.folder / "tmp"), *process)


@dataclass(frozen=True)
class Container:
    """A running container."""

    engine: Engine
    id: str

    def passes_health_check(self) -> bool:
        """Run the health check of the image."""
        try:
            self.engine.podman("healthcheck", "run", self.id)
        except CommandError:
            return False
        return True

    def execute(self, *command: str) -> str:
        return self.engine.podman("exec", self.id, *command)

    @cached_property
    def _pid(self) -> str:
        return self.engine.podman("inspect", "--format", "{{.State.Pid}}", self.id).strip()

    def curl(self, *arguments: str) -> subprocess.Popen[str]:
        """Start curl in the network of the container."""
        network = ("nsenter", f"--net=/proc/{self._pid}/ns/net")
        command = (*network, "curl", "--silent", "--no-buffer", "--max-time", "60", *arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def get(self, url: str) -> str | None:
        """Return the body of a successful response."""
        with self.curl("--fail", url) as curl:
            body, _ = curl.communicate(timeout=60)
        return None if curl.returncode else body

    def logs(self) -> str:
        """Return what the container has written to stdout and stderr."""
        return run("sh", "-c", 'exec "$@" 2>&1', "logs", *self.engine._podman(), "logs", self.id)

    def signal(self, name: str) -> None:
        self.engine.podman("kill", "--signal", name, self.id)

    def exit_code(self) -> int:
        """Wait until the container has ended by itself."""
        return int(self.engine.podman("wait", self.id))


class CommandError(Exception):
    """A command failed."""


def run(*command: str) -> str:
    """Run a command and return what it printed to stdout.

    Raises:
        CommandError: It failed; with all of its output.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(command)}\n{done.stdout[-8000:]}{done.stderr[-8000:]}")
    return done.stdout
