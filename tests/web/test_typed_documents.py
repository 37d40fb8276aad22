"""What a service shows of the types of its handler: schemas, documents, log lines."""

import asyncio
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from dockrion.web.app import create_app
from dockrion.web.service import SERVICE
from tests.agents import typed
from tests.conftest import Serve
from tests.openapi.services import references, resolved
from tests.support import Served, dockfile
from tests.web.transports.readers import WEBSOCKET
from tests.web.typed_service import agent, invoked


async def document(served: Served, path: str) -> dict[str, Any]:
    async with served.client.get(path) as response:
        assert response.status == 200
        return dict(await response.json())


async def test_schemas_of_the_types_are_shown(serve: Serve) -> None:
    served = await serve(agent=agent("answer"))
    shown = await document(served, "/schema")
    assert shown["input_schema"]["title"] == "Question"
    assert shown["input_schema"]["description"] == "What a caller asks."
    assert shown["input_schema"]["required"] == ["text"]
    assert shown["output_schema"]["properties"] == {"text": {"type": "string"}}


@pytest.mark.parametrize("name", ["answer", "shape", "order", "text"])
async def test_documents_describe_the_types(serve: Serve, name: str) -> None:
    served = await serve(agent=agent(name), expose=WEBSOCKET)
    for path in ("/openapi.json", "/asyncapi.json"):
        check_described(served, await document(served, path))


def check_described(served: Served, described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    schema = served.service.dockfile.io_schema.input
    assert schema is not None
    for reference in references(described):
        resolved(described, reference)
    assert "$defs" not in schemas["AgentInput"]
    whole = jsonschema_rs.validator_for(
        {"$ref": "#/components/schemas/AgentInput", "components": described["components"]}
    )
    own = jsonschema_rs.validator_for(schema)
    for value in ({"text": "a", "related": [{"text": ""}]}, {"x": 1}, {"itemName": "tea"}, "text", {}):
        assert whole.is_valid(value) == own.is_valid(value)


async def test_handler_of_a_tagged_union_is_described_with_its_discriminator(serve: Serve) -> None:
    served = await serve(agent=agent("pet"))
    schemas = (await document(served, "/openapi.json"))["components"]["schemas"]
    assert schemas["AgentInput"]["discriminator"] == {
        "propertyName": "type",
        "mapping": {"Cat": "#/components/schemas/Cat", "Dog": "#/components/schemas/Dog"},
    }
    assert await invoked(served, {"type": "Dog", "name": "Rex"}) == "Dog"


async def test_schemas_are_there_once_the_service_is_ready(tmp_path: Path) -> None:
    typed.may_load.clear()
    loaded = dockfile(tmp_path, {"agent": agent("create_slowly", "entrypoint")})
    app = create_app(loaded)
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    try:
        async with client.get("/ready") as response:
            assert response.status == 503
        async with client.get("/openapi.json") as response:
            before = await response.json()
        typed.may_load.set()
        await asyncio.wait_for(app[SERVICE].loading, 10)
        async with client.get("/ready") as response:
            assert response.status == 200
        async with client.get("/openapi.json") as response:
            after = await response.json()
        async with client.get("/schema") as response:
            assert (await response.json())["input_schema"]["title"] == "Question"
    finally:
        typed.may_load.set()
        await client.close()
    assert "AgentInput" not in before["components"]["schemas"]
    assert after["components"]["schemas"]["AgentInput"]["title"] == "Question"


async def test_type_that_is_ignored_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(agent=agent("plain"))
    assert await invoked(served, {"any": 1}) == {"any": 1}
    [message] = [record.message for record in caplog.records if "ignored" in record.message]
    assert message.startswith("agent.handler: tests.agents.typed:plain: the type of its payload is ignored")
    assert caplog.records[0].levelname == "WARNING"


async def test_secrets_in_defaults_are_masked(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=a caller asks\n")
    served = await serve(agent=agent("answer"), secrets={"required": [{"name": "SECRET"}]})
    for path in ("/schema", "/openapi.json", "/asyncapi.json"):
        assert "a caller asks" not in msgspec.json.encode(await document(served, path)).decode()
