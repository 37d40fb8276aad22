"""The guide's command for Kubernetes: the real kubectl, and an API server that stores what it gets."""

import asyncio
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.process import START_SECONDS
from tests.guide.pages import GUIDE, blocks
from tests.guide.services import ROOT

KINDS = {  # by version of the API, as https://kubernetes.io/docs/reference/kubernetes-api/ lists them
    "v1": {"Service": "services"},
    "apps/v1": {"Deployment": "deployments"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
}


class Cluster:
    """The API of a cluster, as far as `kubectl apply` uses it for new objects.

    Attributes:
        objects: What was created, by the path at which it is read.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.app = web.Application()
        self.app.router.add_get("/openapi/v2", self._schemas)
        self.app.router.add_get("/api", self._core)
        self.app.router.add_get("/apis", self._groups)
        for version, kinds in KINDS.items():
            path = f"/{'apis' if '/' in version else 'api'}/{version}"
            self.app.router.add_get(path, self._kinds)
            for plural in kinds.values():
                self.app.router.add_post(f"{path}/namespaces/default/{plural}", self._create)

    async def _schemas(self, _request: web.Request) -> web.Response:
        return web.Response()  # a document of protocol buffers without definitions

    async def _core(self, _request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def _groups(self, _request: web.Request) -> web.Response:
        versions = [{"groupVersion": each, "version": each.split("/")[1]} for each in KINDS if "/" in each]
        groups = [
            {"name": each["groupVersion"].split("/")[0], "versions": [each], "preferredVersion": each}
            for each in versions
        ]
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    async def _kinds(self, request: web.Request) -> web.Response:
        version = request.path.split("/", 2)[2]
        resources = [
            {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["create", "get"]}
            for kind, plural in KINDS[version].items()
        ]
        listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
        return web.json_response(listed | {"resources": resources})

    async def _create(self, request: web.Request) -> web.Response:
        created = await request.json()
        self.objects[f"{request.path}/{created['metadata']['name']}"] = created
        return web.json_response(created, status=201)


async def test_the_command_of_the_guide_creates_what_the_manifests_describe(tmp_path: Path) -> None:
    assert shutil.which("kubectl"), "the tests need kubectl: install Debian's kubernetes-client"
    (command,) = (each.text for each in blocks(GUIDE / "deploy.md", "console") if "kubectl" in each.text)
    manifests = list(yaml.safe_load_all((ROOT / "config/deploy/kubernetes.yaml").read_text()))
    cluster = Cluster()
    async with TestServer(cluster.app) as server:
        (tmp_path / "config").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": {"server": str(server.make_url("/"))}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
                    "current-context": "test",
                }
            )
        )
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command),
            cwd=ROOT,
            env=os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "config")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, output.decode()
    for created in cluster.objects.values():
        del created["metadata"]["annotations"]  # the configuration that kubectl stores with each object
        created["metadata"].pop("namespace")
    assert list(cluster.objects.values()) == manifests
