"""The files in config/deploy, as far as they can be tested without Docker, a cluster and systemd.

`test_kubectl.py` applies the manifests; `python -m tests.image --deploy` runs Compose's and systemd's files.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import lightkube.codecs
import pytest
import yaml
from compose_spec import PyCompose

from dockrion import cli
from dockrion.dockfile import load
from dockrion.metrics import Metrics
from dockrion.web.routes import routes
from tests.guide.services import ROOT

FOLDER = ROOT / "config/deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
FIXED = "nginx", "replica-1", "replica-2"  # the containers whose addresses do not change
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
PODS = {
    each["metadata"]["name"]: each["spec"]["template"] for each in MANIFESTS if each["kind"] == "Deployment"
}


@dataclass
class Container:
    """A container that runs this service."""

    role: str
    arguments: list[str]
    proxy: str | None  # which it trusts
    end_seconds: int  # from the signal until it is killed
    probes: list[str]
    read_only: bool


def of_compose() -> Iterator[Container]:
    for name, role in {"replica-1": "api", "replica-2": "api", "worker": "worker"}.items():
        service = COMPOSE["services"][name]
        seconds = int(service["stop_grace_period"].removesuffix("s"))
        proxy = service["environment"]["TRUSTED_PROXY"]
        yield Container(role, service["command"], proxy, seconds, [], service["read_only"])


def of_kubernetes() -> Iterator[Container]:
    for template in PODS.values():
        pod = template["spec"]
        (container,) = pod["containers"]
        probes = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")]
        before = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0])[-1]
        seconds = pod["terminationGracePeriodSeconds"] - int(before)
        proxy = {each["name"]: each["value"] for each in container["env"]}.get("TRUSTED_PROXY")
        read_only = container["securityContext"]["readOnlyRootFilesystem"]
        yield Container(container["name"], container["args"], proxy, seconds, probes, read_only)


CONTAINERS = [*of_compose(), *of_kubernetes()]
IDS = [f"{file} {index}" for file, count in {"compose": 3, "kubernetes": 2}.items() for index in range(count)]


@pytest.mark.parametrize("container", CONTAINERS, ids=IDS)
def test_each_container_runs_its_role_and_has_the_time_to_end(container: Container) -> None:
    options = cli._parser("run").parse_args(container.arguments)
    assert (options.role, options.port, options.host) == (container.role, 8080, "0.0.0.0")
    assert options.grace + 15 <= container.end_seconds
    assert container.read_only
    path = ROOT / "config" / options.dockfile.relative_to("/app")
    environ = {} if container.proxy is None else {"TRUSTED_PROXY": container.proxy}
    dockfile = load(path, environ=environ).dockfile
    assert dockfile.streaming.backend == "redis"
    assert dockfile.expose.trusted_proxies == [container.proxy or "127.0.0.1"]
    assert set(container.probes) <= {route.path for route in routes(dockfile, options.role)}


def test_compose_file_is_valid() -> None:
    resolved = json.dumps(COMPOSE)  # PyYAML resolves merge keys, as Compose does
    assert set(PyCompose.from_json(resolved).service_names()) == set(COMPOSE["services"])


def test_compose_runs_nginx_with_our_configuration_in_front_of_the_replicas() -> None:
    services = COMPOSE["services"]
    nginx = services["nginx"]
    file, target, _ = nginx["volumes"][0].split(":")
    assert target == "/etc/nginx/nginx.conf"
    configuration = (FOLDER / file).read_text()
    address = nginx["networks"]["default"]["ipv4_address"]
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    fixed = {name: ip_address(services[name]["networks"]["default"]["ipv4_address"]) for name in FIXED}
    for each in fixed.values():
        assert each in ip_network(network["subnet"])
        assert each not in ip_network(network["ip_range"])  # or a container that starts earlier has it
    assert len(set(fixed.values())) == len(FIXED)
    for name in re.findall(r"server (\S+):8080;", configuration):
        assert name in FIXED  # nginx looks it up once
        assert nginx["depends_on"][name] == {"condition": "service_healthy"}
        assert services[name]["environment"]["TRUSTED_PROXY"] == address
    assert nginx["ports"] == ["8080:8080"]
    assert nginx["healthcheck"]["test"][-1] == "http://localhost:8080/ready"
    assert nginx["healthcheck"]["interval"] == "1s"  # as `test_draining` does, so that nginx knows who ends
    assert "listen 8080;" in configuration


@pytest.mark.parametrize("manifest", MANIFESTS, ids=range(len(MANIFESTS)))
def test_manifests_fit_the_models_of_kubernetes(manifest: dict[str, Any]) -> None:
    # Unknown fields would not come back, and a field of the wrong type is an error.
    read = lightkube.codecs.from_dict(manifest)
    assert read.to_dict() == manifest  # type: ignore[no-untyped-call]


def test_pods_are_restricted() -> None:
    """As "restricted" of the Pod Security Standards asks for."""
    for template in PODS.values():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


def test_other_manifests_are_about_these_pods() -> None:
    by_kind = {each["kind"]: each["spec"] for each in MANIFESTS}
    scaled, network = by_kind["HorizontalPodAutoscaler"], by_kind["NetworkPolicy"]
    assert "replicas" not in next(
        each["spec"] for each in MANIFESTS if each["metadata"]["name"] == scaled["scaleTargetRef"]["name"]
    )
    (metric,) = scaled["metrics"]
    exposition, _ = Metrics("tested").exposition()
    assert f"# HELP {metric['external']['metric']['name']} " in exposition.decode()
    selectors = [network["podSelector"], by_kind["PodDisruptionBudget"]["selector"]]
    selectors += [{"matchLabels": by_kind["Service"]["selector"]}]
    labels = [template["metadata"]["labels"] for template in PODS.values()]
    for selector in selectors:
        assert any(selector["matchLabels"].items() <= each.items() for each in labels)


def test_the_units_are_valid_and_restricted_and_leave_the_time_to_end(tmp_path: Path) -> None:
    service = (FOLDER / "dockrion.service").read_text()
    (tmp_path / "dockrion.service").write_text(service.replace("/opt/dockrion/bin/dockrion", sys.executable))
    (tmp_path / "dockrion.socket").write_text((FOLDER / "dockrion.socket").read_text())
    analyze = shutil.which("systemd-analyze")
    assert analyze, "the tests need systemd-analyze: install Debian's systemd"
    units = sorted(tmp_path.iterdir())
    verified = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    options = ("--offline=true", "--threshold=20")  # 2.0 of 10.0
    judged = subprocess.run(
        [analyze, "security", *options, tmp_path / "dockrion.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout
    (command,) = re.findall(r"^ExecStart=\S+dockrion run (.*)$", service, re.MULTILINE)
    arguments = cli._parser("run").parse_args(["run", *command.split()])
    assert f"\nTimeoutStopSec={arguments.grace + 15:.0f}\n" in service
