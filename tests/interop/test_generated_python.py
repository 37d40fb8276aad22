"""Python clients that openapi-python-client generates from /openapi.json."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from tests.conftest import Serve
from tests.interop.weather import IO_SCHEMA, forecast
from tests.openapi.services import described, service
from tests.support import TIMEOUT_SECONDS, Served, dockfile

PACKAGE = "generated_client"
UNSUPPORTED = {"Unsupported content type application/x-ndjson"}
Import = Callable[[str], Any]


def generated(document: bytes, folder: Path) -> list[Any]:
    """Generate a package and return what the generator did not understand."""
    path = folder / "openapi.json"
    path.write_bytes(document)
    options = ConfigFile(post_hooks=[])
    return list(
        generate(config=Config.from_sources(options, MetaType.NONE, path, "utf-8", True, folder / PACKAGE))
    )


@pytest.fixture
def import_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Import modules of the package that was generated."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


async def generate_client(served: Served, folder: Path, headers: dict[str, str] | None = None) -> None:
    async with served.client.get("/openapi.json", headers=headers) as response:
        assert response.status == 200
        assert generated(await response.read(), folder) == []


def url(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


async def test_types_of_a_handler_are_generated(serve: Serve, tmp_path: Path, import_client: Import) -> None:
    served = await serve(agent={"name": "tested", "handler": "tests.agents.typed:answer"})
    await generate_client(served, tmp_path)
    models = import_client("models")
    question = models.Question(text="hi", related=[models.Question(text="ho")])
    assert question.to_dict() == {"text": "hi", "related": [{"text": "ho"}]}


@pytest.mark.parametrize("name", ["rest", "sockets", "ingest", "jwt", "graph"])
def test_every_endpoint_is_generated(name: str, tmp_path: Path) -> None:
    document = msgspec.json.encode(described(service(tmp_path, name)))
    assert {str(error.detail) for error in generated(document, tmp_path)} <= UNSUPPORTED


@pytest.mark.parametrize(
    ("agent_input", "agent_output"),
    [
        ({}, {"type": "string"}),
        ({"type": "null"}, {"type": ["object", "null"], "properties": {"a": {"type": "integer"}}}),
        ({"enum": [1, 2]}, {"const": True}),
        (
            {"type": "array", "items": {"$ref": "#/$defs/%C3%BC~1"}, "$defs": {"ü/": {"enum": ["a", "b"]}}},
            {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Run"}], "$defs": {"Run": {"type": "object"}}},
        ),
        ({"properties": {"event": {"type": "object"}}}, {"properties": {"child": {"$ref": "#"}}}),
        (
            {"$ref": "#/$defs/Question", "$defs": {"Question": {"properties": {"text": {"type": "string"}}}}},
            {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"properties": {"child": {"$ref": "#/$defs/Tree"}}}}},
        ),
    ],
    ids=str,
)
def test_any_input_and_output_are_generated(
    agent_input: dict[str, Any], agent_output: dict[str, Any], tmp_path: Path, import_client: Import
) -> None:
    io_schema = {"input": agent_input, "output": agent_output}
    document = msgspec.json.encode(described(dockfile(tmp_path, {"io_schema": io_schema}).dockfile))
    assert generated(document, tmp_path) == []
    assert import_client("models").Invoked


@pytest.fixture
async def weather(serve: Serve, tmp_path: Path) -> Served:
    """Serve the agent, with a client generated."""
    served = await serve(forecast, io_schema=IO_SCHEMA)
    await generate_client(served, tmp_path)
    return served


async def test_invoke_returns_typed_results(weather: Served, import_client: Import) -> None:
    models, invoke = import_client("models"), import_client("api.invoke.post_invoke")
    place = models.Place(name="Graz", near=models.Place(name="Wien"))
    body = models.AgentInput(place=place, days=2, unit=models.AgentInputUnit.CELSIUS, exact=True)
    async with import_client("client").Client(url(weather), raise_on_unexpected_status=True) as client:
        invoked = await invoke.asyncio(client=client, body=body)
        body.place.name = "Nowhere"
        failed = await invoke.asyncio(client=client, body=body)
        body.days = 10
        invalid = await invoke.asyncio(client=client, body=body)
    assert isinstance(invoked, models.Invoked)
    assert isinstance(invoked.output, models.AgentOutput)
    assert (invoked.output.place.name, invoked.output.highs) == ("Graz", [20.5, 20.5])
    assert invoked.output.errors == [models.AgentOutputError(day=2)]
    assert invoked.metadata.agent == "tested"
    assert invoked.metadata.latency_seconds >= 0
    assert isinstance(failed, models.Failure)
    assert failed.code == "AGENT_EXECUTION_ERROR"
    assert isinstance(invalid, models.Failure)
    assert invalid.code == "VALIDATION_ERROR"


async def test_runs_have_typed_results(weather: Served, import_client: Import) -> None:
    models = import_client("models")
    body = models.AgentInput(models.Place("Graz"))
    async with import_client("client").Client(url(weather), raise_on_unexpected_status=True) as client:

        async def call(name: str, *arguments: str, **options: Any) -> Any:
            return await import_client(f"api.{name}").asyncio(*arguments, client=client, **options)

        accepted = await call("runs.post_runs", body=body, run_id="r")
        stream = await call("events.get_runs_run_id_events", "r")
        run = await call("runs.get_runs_run_id", "r")
        listed = await call("runs.get_runs", status=models.RunStatus.COMPLETED)
        refused = await call("runs.delete_runs_run_id", "r")
        exists = await call("runs.post_runs", body=models.AgentInput(models.Place("Linz")), run_id="r")
        missing = await call("runs.get_runs_run_id", "missing")
        streamed = await call("invoke.post_invoke_stream", body=body)
    assert isinstance(accepted, models.Accepted)
    assert (accepted.run_id, accepted.status) == ("r", models.RunStatus.ACCEPTED)
    assert isinstance(run, models.Run)
    assert run.status is models.RunStatus.COMPLETED
    assert isinstance(run.output, models.AgentOutput)
    assert run.completed_at >= run.started_at
    assert [each.run_id for each in listed.items] == ["r"]
    assert all(isinstance(text, str) and "event: complete" in text for text in (stream, streamed))
    failures = {each.code for each in (refused, exists, missing) if isinstance(each, models.Failure)}
    assert failures == {"VALIDATION_ERROR", "CONFLICT", "NOT_FOUND"}


async def test_polled_events_are_of_their_types(weather: Served, import_client: Import) -> None:
    models = import_client("models")
    await weather.start({"place": {"name": "Graz"}}, run_id="good")
    await weather.start({"place": {"name": "Nowhere"}}, run_id="bad")
    pages = []
    async with httpx.AsyncClient(base_url=url(weather), headers={"Accept": "application/json"}) as client:
        for run_id in ("good", "bad"):
            await weather.finished(run_id)
            response = await client.get(f"/runs/{run_id}/events")
            pages.append(models.Polled.from_dict(response.json()))
    events = [[type(event).__name__ for event in page.events] for page in pages]
    assert events == [["Started", "Token", "Custom", "Complete"], ["Started", "Error"]]
    assert pages[0].events[2].additional_properties == {"happy": True}
    assert isinstance(pages[0].events[3].output, models.AgentOutput)


async def test_questions_are_answered_with_typed_events(weather: Served, import_client: Import) -> None:
    models, respond = import_client("models"), import_client("api.runs.post_runs_run_id_input")
    get = import_client("api.runs.get_runs_run_id")
    await weather.start({"place": {"name": "Somewhere"}}, run_id="r")
    async with import_client("client").Client(url(weather), raise_on_unexpected_status=True) as client:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (waiting := (await get.asyncio("r", client=client)).waiting_for) is None:
                await asyncio.sleep(0.005)
        refused = await respond.asyncio("r", client=client, body=models.Answer(waiting.request_id, 0))
        accepted = await respond.asyncio("r", client=client, body=models.Answer(waiting.request_id, 2))
    assert (waiting.prompt, waiting.schema.additional_properties["minimum"]) == ("How many days?", 1)
    assert isinstance(refused, models.Failure)
    assert isinstance(accepted, models.AnswerAccepted)
    await weather.finished("r")
    async with httpx.AsyncClient(base_url=url(weather), headers={"Accept": "application/json"}) as client:
        response = await client.get("/runs/r/events")
    events = models.Polled.from_dict(response.json()).events
    kinds = ["ToolCall", "ToolResult", "Reasoning", "Message", "Usage", "InputRequested", "InputReceived"]
    assert [type(event).__name__ for event in events[3:-1]] == kinds
    call, result, _, message, usage, requested, received = events[3:-1]
    assert (call.name, call.source, result.result) == ("locate", "guide", {"latitude": 47.07})
    assert (message.message_id, usage.total_tokens) == ("m", 7)
    assert (requested.request_id, received.value) == (waiting.request_id, 2)
    assert events[-1].output.highs == [20.5, 20.5]


async def test_generated_client_authenticates(serve: Serve, tmp_path: Path, import_client: Import) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-of-some-length\n")
    served = await serve(auth={"mode": "api_key"})
    await generate_client(served, tmp_path, {"X-API-Key": "a-key-of-some-length"})
    invoke, client = import_client("api.invoke.post_invoke"), import_client("client")
    async with client.AuthenticatedClient(url(served), token="a-key-of-some-length") as authenticated:
        invoked = await invoke.asyncio(client=authenticated, body={"a": 1})
    async with client.AuthenticatedClient(url(served), token="wrong") as unknown:
        refused = await invoke.asyncio(client=unknown, body={"a": 1})
    assert invoked.output == {"a": 1}
    assert refused.code == "AUTH_ERROR"
