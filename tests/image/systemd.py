"""What must hold for the units in `config/deploy`, in a container whose first process is systemd.

Run by `python -m tests.image --deploy`.
"""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.guide.pages import blocks, page
from tests.image.base import RELEASE, of_packages
from tests.image.checks import URL, last_event, ready, stream
from tests.image.conftest import IMAGE, ROOT
from tests.image.engine import LIMITS, CommandError, Container, Engine, run

SECONDS = 60.0
UNIT = "dockrion.service"
# Nothing waits for a network, which the container does not have.
_MASKED = "type=bind,src=/dev/null,dst=/etc/systemd/system/systemd-networkd-wait-online.service"
_IMPATIENT = "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\nRestartSec=0\n"


@pytest.fixture(scope="module")
def machine(engine: Engine) -> Iterator[Container]:
    """A machine with the image's files, on which the guide's commands have been run."""
    name = "localhost/machine"
    settings = ("--entrypoint", json.dumps(["/lib/systemd/systemd", "--unit=multi-user.target"]))
    with (
        of_packages(engine, name, RELEASE, "systemd", "libnss-systemd", "python3", settings=settings) as root,
        engine.mounted(IMAGE) as files,
    ):
        run("cp", "--archive", str(files / "opt"), str(root))
        run("cp", "--recursive", str(ROOT / "config"), str(root / "root"))
        (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")  # as in the image
        (root / "etc/dockrion").mkdir()
        run("cp", "--recursive", str(ROOT / "config/agents"), str(root / "etc/dockrion"))
        run("cp", str(ROOT / "config/Dockfile.yaml"), str(root / "etc/dockrion"))
    options = ("--systemd=always", "--privileged", "--network", "none", "--mount", _MASKED, *LIMITS)
    container = Container(engine, engine.podman("run", "--detach", *options, name).strip())
    try:
        wait_until(container, lambda: show(container, "ActiveState", "multi-user.target") == "active")
        (commands,) = (block.text for block in blocks(page("deploy"), "console") if "systemctl" in block.text)
        container.execute("sh", "-euc", f"cd /root\n{commands}")
        ready(container)
        yield container
    finally:
        engine.podman("rm", "--force", "--time", "0", container.id)


def wait_until(container: Container, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, journal(container)
        time.sleep(0.1)


def journal(container: Container) -> str:
    return container.execute("journalctl", "--no-pager", "--unit", UNIT)


def show(container: Container, name: str, unit: str = UNIT) -> str:
    """Return a property of a unit; nothing before systemd answers."""
    try:
        return container.execute("systemctl", "show", unit, "--value", "--property", name).strip()
    except CommandError:
        return ""


def test_service_is_started_with_restrictions(machine: Container) -> None:
    assert show(machine, "ActiveState") == "active"
    assert show(machine, "StatusText") == "serving"
    status = machine.execute("cat", f"/proc/{show(machine, 'MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) > 60_000  # of DynamicUser
    assert (int(fields["CapBnd"], 16), fields["NoNewPrivs"], fields["Seccomp"]) == (0, "1", "2")


def test_streams_end_before_a_stop_and_requests_wait_for_the_start(machine: Container) -> None:
    reading = stream(machine, words=10, pause_ms=100)
    machine.execute("systemctl", "restart", "--no-block", UNIT)
    assert last_event(reading)["type"] == "complete"
    assert machine.get(f"{URL}/health")  # the connection waits in the socket
    assert show(machine, "Result") == "success"
    wait_until(machine, lambda: show(machine, "ActiveState") == "active")


def test_watchdog_restarts_a_service_that_stands_still(machine: Container) -> None:
    folder = f"/etc/systemd/system/{UNIT}.d"
    machine.execute("sh", "-euc", f"mkdir {folder}; printf '{_IMPATIENT}' >{folder}/impatient.conf")
    machine.execute("systemctl", "daemon-reload")
    machine.execute("systemctl", "restart", UNIT)
    ready(machine)
    sign = show(machine, "WatchdogTimestampMonotonic")
    wait_until(machine, lambda: show(machine, "WatchdogTimestampMonotonic") != sign)
    assert show(machine, "NRestarts") == "0"
    machine.execute("systemctl", "kill", "--signal", "STOP", UNIT)
    wait_until(machine, lambda: show(machine, "NRestarts") == "1")
    ready(machine)
    assert "watchdog" in journal(machine).lower()
