"""What must hold for `config/deploy/compose.yaml`, really started; run by `python -m tests.image --deploy`.

podman-compose of PyPI takes the place of Docker Compose (Debian's is too old); netavark and aardvark-dns make
its network. Images with Debian's Redis and nginx take the places of `redis:7` and `nginx:1`.
"""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from tests.guide.pages import blocks, page
from tests.image.base import of_packages
from tests.image.conftest import ROOT
from tests.image.engine import Engine, run

PROGRAMS = ("podman-compose", "iptables")
_RELEASE = "bookworm"
_SETTINGS = """
[network]
network_backend = "netavark"
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
_SCRIPT = """
mkdir -p /run/containers
mount -t tmpfs tmpfs /run/containers
ip link set lo up
docker() { "podman-$1" "${@:2}"; }
trap 'podman pod rm --all --force; podman network rm --force deploy_default' EXIT
url=http://localhost:8080
short='{"topic": "cats", "words": 3}'
start_runs() {
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    curl --silent --output /dev/null --write-out '%{http_code}\\n' --json "$short" $url/runs
  done >>$results/statuses
}
UP --detach
for name in 1 2; do
  until podman healthcheck run deploy_replica-${name}_1; do sleep 0.5; done
done
podman restart --time 1 deploy_nginx_1  # podman-compose has not waited for what it depends on
curl --silent --fail --retry 60 --retry-all-errors --retry-delay 1 $url/ready
podman healthcheck run deploy_nginx_1
curl --silent --fail --json "$short" $url/invoke >$results/output
curl --silent --fail --json '{"topic": "cats", "words": 60, "pause_ms": 200}' "$url/runs?run_id=long"
for name in one other; do
  curl --silent --no-buffer $url/runs/long/events >$results/$name &
  readers="${readers:-} $!"
done
podman kill --signal TERM deploy_replica-1_1
# Podman leaves the interval of health checks to systemd.
for attempt in 1 2 3; do podman healthcheck run deploy_nginx_1; sleep 0.5; done
start_runs
wait $readers
until podman healthcheck run deploy_replica-1_1; do sleep 0.5; done  # it has been started again
sleep 10  # until nginx tries it again
podman stop --time 75 deploy_replica-2_1
start_runs
podman rm --force --time 0 deploy_worker_2  # which podman-compose would leave
docker compose -f config/deploy/compose.yaml down --volumes
podman ps --all --filter name=^deploy_ --format '{{.Names}}' >$results/left
podman volume ls --filter name=deploy_redis --format '{{.Name}}' >>$results/left
"""


@pytest.fixture(scope="module")
def images(engine: Engine) -> Engine:
    """The engine with the images that the file names."""
    entry = "docker-entrypoint.sh"
    packages = "redis-server", "redis-tools"
    settings = ("--entrypoint", json.dumps([entry]))
    with of_packages(engine, "docker.io/library/redis:7", _RELEASE, *packages, settings=settings) as root:
        script = root / "usr/local/bin" / entry
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text('#!/bin/sh\nexec "$@" --protected-mode no\n')
        script.chmod(0o755)
    packages = "nginx-light", "curl"
    settings = ("--cmd", json.dumps(["nginx", "-g", "daemon off;"]))
    with of_packages(engine, "docker.io/library/nginx:1", _RELEASE, *packages, settings=settings) as root:
        shutil.rmtree(root / "var/lib/nginx", ignore_errors=True)
        (root / "var/lib/nginx").symlink_to("/var/cache/nginx")
        (root / "var/cache/nginx").mkdir(exist_ok=True)
        for name, stream in {"access": "stdout", "error": "stderr"}.items():
            log = root / f"var/log/nginx/{name}.log"
            log.unlink(missing_ok=True)
            log.symlink_to(f"/dev/{stream}")
    return engine


def test_services_start_survive_the_end_of_each_replica_and_stop(images: Engine, tmp_path: Path) -> None:
    (settings := tmp_path / "containers.conf").write_text(_SETTINGS)
    podman = tmp_path / "bin/podman"
    podman.parent.mkdir()
    command = shlex.join((shutil.which("podman") or "", *images.podman_options))
    podman.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    podman.chmod(0o755)
    (command,) = (
        line
        for block in blocks(page("deploy"), "console")
        for line in block.text.splitlines()
        if line.startswith("docker compose")
    )
    variables = {
        "PATH": f"{podman.parent}:{os.environ['PATH']}",
        "CONTAINERS_CONF": str(settings),
        "results": str(tmp_path),
    }
    assignments = [f"{name}={value}" for name, value in variables.items()]
    script = f"cd {ROOT}\n{_SCRIPT.replace('UP', command)}"
    run("env", *assignments, "unshare", "--net", "--mount", "bash", "-euo", "pipefail", "-c", script)
    assert json.loads((tmp_path / "output").read_text())["output"]["text"] == "cats is a"
    one, other = ((tmp_path / name).read_text() for name in ("one", "other"))
    assert one == other
    assert one.count("event: token") == 60
    assert "event: complete" in one
    assert (tmp_path / "statuses").read_text().split() == ["202"] * 20
    assert (tmp_path / "left").read_text() == ""
