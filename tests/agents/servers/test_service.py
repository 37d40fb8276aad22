"""A service whose agent is another server: what its Dockfile decides, from the request to the log."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agents.processes import SSE, bytes_of, process
from tests.agents.servers.openai_server import OPENAI, PAYLOAD, STOP, choices, delta, stream
from tests.conftest import Serve
from tests.servers import TIMEOUT_SECONDS

KEY = "sk-a-key-that-nobody-guesses"
A2A_MODULES = ("a2a_artifacts", "a2a_messages", "a2a_objects", "a2a_reader")
SHARED = ("server_errors", "tool_calls")
LOADED = """
import sys
from pathlib import Path
from dockrion.agents.remote import RemoteAgent
from dockrion.agents.servers import protocol_of
from dockrion.dockfile import load

protocol_of(load(Path(sys.argv[1]), environ={}).dockfile)
print(*[name for name in sys.modules if name.startswith("dockrion.agents.servers.")])
"""


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / ".env").write_text(f"MODEL_KEY={KEY}\n")  # beside the Dockfile
    return KEY


async def test_a_chat_model_is_served(serve: Serve, key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replied = stream(*choices(delta(content="No"), delta(content="."), STOP))
    async with process(bytes_of(SSE, replied)) as server:
        agent = {"name": "tested", "url": server.url, "token_env": "MODEL_KEY", **OPENAI}
        served = await serve(agent=agent, expose={"protocols": ["openai"]})
        async with served.client.post("/invoke", json=PAYLOAD) as response:
            assert (await response.json())["output"] == "No."
        refused: list[dict[str, Any]] = [{"q": "Rain?"}, {"messages": []}, {"messages": [{"content": "x"}]}]
        for body in refused:
            async with served.client.post("/invoke", json=body) as response:
                assert response.status == 400
        async with served.client.post("/v1/chat/completions", json=PAYLOAD) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == "No."
        async with served.client.get("/info") as response:
            assert key not in await response.text()
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {key}"] * 2
    assert key not in repr([vars(record) for record in caplog.records])


async def test_no_header_of_a_failed_request_is_logged(
    serve: Serve, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(lambda _, wire: wire.send(b"HTTP/1.1 2x0 what\r\n\r\n")) as server:
        agent = {"name": "tested", "url": server.url, "token_env": "MODEL_KEY", **OPENAI}
        served = await serve(agent=agent | {"forward_headers": ["X-Own"]})
        async with served.client.post("/invoke", json=PAYLOAD, headers={"X-Own": "own-secret"}) as response:
            assert response.status == 502
            assert key not in await response.text()
    logged = repr([vars(record) for record in caplog.records])  # before anything is masked
    assert "Bad status line" in logged
    assert key not in logged
    assert "own-secret" not in logged


async def test_a_payload_that_only_the_schema_lets_through_is_the_callers_fault(serve: Serve) -> None:
    agent = {"name": "tested", "url": "http://127.0.0.1:1/", **OPENAI}
    served = await serve(agent=agent, io_schema={"input": {"properties": {"q": {}}}})
    async with served.client.post("/invoke", json={"q": 1}) as response:
        assert response.status == 400
        answer = await response.json()
    assert (answer["code"], answer["error"]) == (
        "VALIDATION_ERROR",
        "this agent is a chat model: send `messages`",
    )


@pytest.mark.parametrize(
    ("fields", "modules"),
    [
        ({}, {"dockrion", "dockrion_readers", "recognition"}),
        (OPENAI, {"openai", "openai_chunks", "openai_readers", *SHARED}),
        ({"protocol": "ag-ui"}, {"ag_ui", "ag_ui_events", "ag_ui_reader", "message_parts", *SHARED}),
        ({"protocol": "a2a"}, {"a2a", *A2A_MODULES, "message_parts", "server_errors"}),
    ],
    ids=["dockrion", "openai", "ag-ui", "a2a"],
)
def test_only_the_protocol_that_is_spoken_is_loaded(
    tmp_path: Path, fields: dict[str, Any], modules: set[str]
) -> None:
    path = tmp_path / "Dockfile.yaml"
    agent = {"name": "tested", "url": "http://127.0.0.1:1/", **fields}
    path.write_text(json.dumps({"version": "1.0", "agent": agent}))
    command = [sys.executable, "-c", LOADED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    assert {name.rpartition(".")[2] for name in done.stdout.split()} == modules
