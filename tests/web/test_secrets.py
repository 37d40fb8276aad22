"""The values of declared secrets are masked everywhere."""

import html
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import error_of

SECRET = 'pa ss"w/ö?rd'
IN_A_URL = "pa%20ss%22w%2F%C3%B6%3Frd"
FORMS = [
    SECRET,
    repr(SECRET)[1:-1],
    msgspec.json.encode(SECRET).decode()[1:-1],
    html.escape(SECRET),
    IN_A_URL,
]
DECLARED: dict[str, Any] = {
    "secrets": {"required": [{"name": "API_KEY"}]},
    "agent": {"name": "tested", "description": "with ${API_KEY}", "handler": "tests.support:placeholder"},
    "metadata": {"maintainer": "${API_KEY}", "tags": ["key ${API_KEY}"], "extra": {"in": "${API_KEY}"}},
}


class KeyedError(Exception):
    def __init__(self) -> None:
        super().__init__(f"refused {SECRET!r}", {"key": SECRET})


def raises(_payload: Any) -> None:
    raise KeyedError


def raises_from(_payload: Any) -> None:
    try:
        raises(None)
    except KeyedError as error:
        raise RuntimeError(f"while calling https://api.example/?key={IN_A_URL} with {SECRET}") from error


@pytest.fixture
def secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"API_KEY='{SECRET}'\n")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Capture the service's log, formatted as on stdout."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(Redactor([SECRET])))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


def leaked(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


async def safe_str(served: Served, path: str) -> str:
    async with served.client.get(path) as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.usefixtures("secret")
async def test_info_masks_secrets(serve: Serve) -> None:
    served = await serve(**DECLARED)
    text = await safe_str(served, "/info")
    assert not leaked(text)
    assert "key ***" in text


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("path", ["/", "/schema", "/health", "/metrics"])
async def test_other_descriptions_mask_secrets(serve: Serve, path: str) -> None:
    schema = {"input": {"description": "send ${API_KEY}"}, "output": {"description": "${API_KEY}"}}
    served = await serve(**DECLARED, io_schema=schema)
    assert not leaked(await safe_str(served, path))


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("agent", [raises, raises_from])
async def test_error_of_invoke_masks_secrets(serve: Serve, agent: Any) -> None:
    served = await serve(agent, **DECLARED)
    async with served.client.post("/invoke", json={}) as response:
        body = await error_of(response, 500, "AGENT_EXECUTION_ERROR")
    assert not leaked(str(body))
    assert "***" in body["error"]


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("agent", [raises, raises_from])
async def test_error_of_a_run_masks_secrets(serve: Serve, agent: Any) -> None:
    served = await serve(agent, **DECLARED)
    async with served.stream() as reader:
        await reader.all()
    assert b"***" in reader.raw
    assert not leaked(reader.raw.decode())
    assert not leaked(await safe_str(served, f"/runs/{reader.run_id}"))
    assert not leaked(await safe_str(served, "/runs"))


@pytest.mark.usefixtures("secret")
async def test_details_of_a_refused_body_mask_secrets(serve: Serve) -> None:
    served = await serve(**DECLARED, io_schema={"input": {"properties": {"n": {"type": "integer"}}}})
    async with served.client.post("/invoke", json={"n": SECRET}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert not leaked(str(body))


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("agent", [raises, raises_from])
async def test_log_masks_secrets(serve: Serve, logged: io.StringIO, agent: Any) -> None:
    served = await serve(agent, **DECLARED)
    await served.finished(await served.start())
    async with served.client.get(f"/nowhere/{IN_A_URL}", headers={"User-Agent": "has pa ss"}):
        pass
    text = logged.getvalue()
    assert "KeyedError" in text
    assert not leaked(text)


@pytest.mark.usefixtures("secret")
async def test_errors_about_unknown_paths_mask_secrets(serve: Serve) -> None:
    served = await serve(**DECLARED)
    async with served.client.get(f"/nowhere/{IN_A_URL}") as response:
        body = await error_of(response, 404, "NOT_FOUND")
    assert not leaked(str(body))


@pytest.mark.usefixtures("secret")
async def test_emitted_events_are_not_masked(serve: Serve) -> None:
    served = await serve(lambda _payload: SECRET, **DECLARED)
    async with served.client.post("/invoke", json={}) as response:
        assert (await response.json())["output"] == SECRET
