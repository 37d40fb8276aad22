"""The files in config/deploy, as far as they can be tested without a cluster."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockrion import cli
from dockrion.dockfile import load
from dockrion.web.routes import routes
from tests.guide.services import ROOT

FOLDER = ROOT / "config/deploy"


@dataclass
class Container:
    """A container that runs this service."""

    role: str
    arguments: list[str]
    end_seconds: int  # from the signal until it is killed
    probes: list[str]


def of_compose() -> Iterator[Container]:
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    for name in ("api", "worker"):
        service = services[name]
        yield Container(name, service["command"], int(service["stop_grace_period"].removesuffix("s")), [])


def of_kubernetes() -> Iterator[Container]:
    for document in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()):
        if document["kind"] != "Deployment":
            continue
        pod: dict[str, Any] = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        probes = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")]
        yield Container(container["name"], container["args"], pod["terminationGracePeriodSeconds"], probes)


CONTAINERS = [*of_compose(), *of_kubernetes()]
IDS = [f"{file} {role}" for file in ("compose", "kubernetes") for role in ("api", "worker")]


@pytest.mark.parametrize("container", CONTAINERS, ids=IDS)
def test_each_container_runs_its_role_and_has_the_time_to_end(container: Container) -> None:
    options = cli._parser("run").parse_args(container.arguments)
    assert (options.role, options.port, options.host) == (container.role, 8080, "0.0.0.0")
    assert options.grace + 15 <= container.end_seconds
    path = ROOT / "config" / options.dockfile.relative_to("/app")
    dockfile = load(path, environ={}).dockfile
    assert dockfile.streaming.backend == "redis"
    assert set(container.probes) <= {route.path for route in routes(dockfile, options.role)}


def test_the_units_are_valid_and_leave_the_time_to_end(tmp_path: Path) -> None:
    service = (FOLDER / "dockrion.service").read_text()
    (tmp_path / "dockrion.service").write_text(service.replace("/opt/dockrion/bin/dockrion", sys.executable))
    (tmp_path / "dockrion.socket").write_text((FOLDER / "dockrion.socket").read_text())
    analyze = shutil.which("systemd-analyze")
    assert analyze, "the tests need systemd-analyze: install Debian's systemd"
    units = sorted(tmp_path.iterdir())
    verified = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    (command,) = re.findall(r"^ExecStart=\S+dockrion run (.*)$", service, re.MULTILINE)
    options = cli._parser("run").parse_args(["run", *command.split()])
    assert f"\nTimeoutStopSec={options.grace + 15:.0f}\n" in service
