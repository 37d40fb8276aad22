"""TypeScript that openapi-typescript generates from /openapi.json."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Serve
from tests.interop import node
from tests.interop.weather import IO_SCHEMA, forecast
from tests.openapi.services import SERVICES, described, service

CONFIG = {
    "compilerOptions": {
        "strict": True,
        "noUnusedLocals": True,
        "noEmit": True,
        "skipDefaultLibCheck": True,
        "module": "nodenext",
        "target": "esnext",
        "allowImportingTsExtensions": True,
        "types": [],
    }
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose programs find the npm packages."""
    node.executable()
    (tmp_path / "node_modules").symlink_to(node.MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(CONFIG))
    return tmp_path


async def check_types(folder: Path) -> None:
    await node.output(node.MODULES / "typescript/bin/tsc", "--project", folder)


@pytest.mark.long
async def test_types_of_every_service_are_generated(folder: Path) -> None:
    documents = [
        folder / f"{name}.json" for name in SERVICES if name != "nested"
    ]  # TypeScript has no arrays of themselves
    for path in documents:
        path.write_bytes(msgspec.json.encode(described(service(folder, path.stem))))
    await node.output("generate.mjs", *documents)
    await check_types(folder)


async def test_service_is_called_with_generated_types(serve: Serve, folder: Path) -> None:
    served = await serve(forecast, io_schema=IO_SCHEMA)
    async with served.client.get("/openapi.json") as response:
        (folder / "openapi.json").write_bytes(await response.read())
    await node.output("generate.mjs", folder / "openapi.json")
    program = folder / "weather.ts"
    program.write_bytes((node.FOLDER / program.name).read_bytes())
    await check_types(folder)
    output = await node.output(program, f"http://127.0.0.1:{served.port}")
    assert json.loads(output) == [
        *[True, "Graz", [21.5, 21.5], 2, True],
        *[500, False, "AGENT_EXECUTION_ERROR"],
        *[True, "completed", "Graz", None],
        *["SUNNY", "Graz"],
        *["How many days?", True, "accepted"],
        *["locate", "guide", "large", 7],
    ]
