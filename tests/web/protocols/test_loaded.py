"""Nothing of a protocol is loaded, nor any endpoint of it there, unless the Dockfile names it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

from dockrion.dockfile import load
from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.web.routes import routes
from tests.servers import TIMEOUT_SECONDS

NAMES = get_args(ProtocolName)
SCRIPT = """
import asyncio, json, os, sys
from pathlib import Path
from dockrion.dockfile import load
from dockrion.web.app import create_app

async def main():
    for path in sys.argv[1:]:
        create_app(load(Path(path), environ={}))
        parts = [name.split(".") for name in sys.modules if name.startswith("dockrion.")]
        print(json.dumps([".".join(each[1:]) for each in parts if "protocols" in each]), flush=True)
    os._exit(0)

asyncio.run(main())
"""


def written(folder: Path, names: list[str]) -> Path:
    path = folder / f"{'-'.join(names) or 'none'}.yaml"
    agent = {"name": "tested", "handler": "tests.support:placeholder"}
    path.write_text(json.dumps({"version": "1.0", "agent": agent, "expose": {"protocols": names}}))
    return path


def test_a_service_loads_the_protocols_that_it_serves(tmp_path: Path) -> None:
    paths = [written(tmp_path, list(NAMES[:count])) for count in range(len(NAMES) + 1)]  # one more each time
    command = [sys.executable, "-c", SCRIPT, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS * 6, check=False)
    assert done.returncode == 0, done.stderr
    nothing, *loaded = map(json.loads, done.stdout.splitlines())
    assert nothing == []
    for count, modules in enumerate(loaded, 1):
        packages = {name.split("protocols.")[1].partition(".")[0] for name in modules if "protocols." in name}
        shared = {"conversation", "growing_text", "json_rpc", "numbered_frames", "reply", "reply_text"}
        shared |= {"questions", "resuming", "starting", "stream", "token_runs"}
        assert packages - shared == {name.replace("-", "_") for name in NAMES[:count]}
        assert not [name for name in modules if name.startswith("openapi")]  # only for whoever reads it


def test_endpoints_are_those_of_the_protocols(tmp_path: Path) -> None:
    def paths(*names: str) -> set[str]:
        return {route.path for route in routes(load(written(tmp_path, list(names)), environ={}).dockfile)}

    own: dict[str, str | tuple[str, ...]] = {"openai": "/v1/", "ag-ui": "/ag-ui", "vercel-ai": "/api/chat"}
    own["a2a"] = "/a2a", "/.well-known/"
    own["mcp"] = "/mcp"
    for name in NAMES:
        more = paths(name) - paths()
        assert more
        assert all(path.startswith(own[name]) for path in more)
    assert paths(*NAMES) == paths().union(*map(paths, NAMES))
