"""`agent.forward_headers`: which headers of a caller's request the agent gets, and where."""

import asyncio
import logging
from typing import Any

import pytest
from multidict import CIMultiDict

from dockrion import StreamContext, get_current_context
from tests.conftest import Serve
from tests.support import Served
from tests.web.test_sidecar import heard, process

TOKEN = "Bearer token-of-ada"
NAMES = ["X-Tenant", "accept-language", "Authorization"]
SENT = {
    "x-tenant": "acme",
    "Accept-Language": "de",
    "X-Other": "never",
    "Authorization": TOKEN,
}
EXPECTED = {"X-Tenant": "acme", "accept-language": "de", "Authorization": TOKEN}
HEAD = b"Content-Type: application/json\r\nContent-Length: 2"


async def headers(_payload: Any, context: StreamContext) -> dict[str, str]:
    """Return what the agent sees, here and in a thread."""

    def in_thread() -> dict[str, str]:
        current = get_current_context()
        assert current is context
        return dict(current.request.headers)

    seen = await asyncio.to_thread(in_thread)
    assert seen == dict(context.request.headers)
    return seen


async def service(serve: Serve, *names: str, **sections: Any) -> Served:
    agent = {"name": "tested", "handler": "tests.support:placeholder", "forward_headers": list(names)}
    return await serve(headers, agent=agent, **sections)


async def invoked(served: Served, sent: dict[str, str]) -> Any:
    async with served.client.post("/invoke", json={}, headers=sent) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["output"]


async def test_invoke(serve: Serve) -> None:
    assert await invoked(await service(serve, *NAMES), SENT) == EXPECTED


async def test_pattern_a(serve: Serve) -> None:
    served = await service(serve, *NAMES)
    async with served.client.post("/invoke/stream", json={}, headers=SENT) as response:
        text = await response.text()
    assert '"output":{"X-Tenant":"acme","accept-language":"de","Authorization":"Bearer token-of-ada"}' in text


async def test_run_and_its_record_and_the_log_do_not_show_them(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    served = await service(serve, *NAMES)
    served.use(lambda _payload, context: len(context.request.headers))
    async with served.client.post("/runs", json={}, headers=SENT) as response:
        run_id = (await response.json())["run_id"]
    record = await served.finished(run_id)
    assert record["output"] == 3
    async with served.events(run_id) as reader:
        await reader.all()
    shown = f"{record} {reader.raw!r} {[vars(log_record) for log_record in caplog.records]}"
    assert "acme" not in shown
    assert "token-of-ada" not in shown


async def test_websocket(serve: Serve) -> None:
    served = await service(serve, *NAMES, expose={"streaming": "websocket"})
    async with served.client.ws_connect("/invoke/ws", headers=SENT) as socket:
        await socket.send_str("{}")
        events = [message.json() async for message in socket]
    assert events[-1]["output"] == EXPECTED


async def test_agent_process_gets_them_as_they_are(serve: Serve) -> None:
    async with process(heard) as url:
        names = [*NAMES, "User-Agent", "X-Text"]
        served = await serve(agent={"name": "tested", "url": url, "forward_headers": names})
        sent = {**SENT, "User-Agent": "browser/1", "X-Text": "schön"}
        got = CIMultiDict((await invoked(served, sent))["headers"])
        assert {name: got.get(name) for name in names} == EXPECTED | {
            "User-Agent": "browser/1",
            "X-Text": "schön",
        }
        assert "X-Other" not in got
        assert got["Accept"].startswith("text/event-stream")


async def test_none_by_default(serve: Serve) -> None:
    assert await invoked(await serve(headers), SENT) == {}


async def test_names_ignore_case_and_absent_headers_are_absent(serve: Serve) -> None:
    served = await service(serve, "X-Tenant", "X-Absent")

    def ask(_payload: Any, context: StreamContext) -> list[Any]:
        found = context.request.headers
        return [found["x-tenant"], found.get("X-TENANT"), "X-tenant" in found, found.get("x-absent")]

    served.use(ask)
    assert await invoked(served, SENT) == ["acme", "acme", True, None]


async def test_they_cannot_be_changed(serve: Serve) -> None:
    served = await service(serve, "X-Tenant")

    def change(_payload: Any, context: StreamContext) -> None:
        found: Any = context.request.headers
        found["X-Tenant"] = "other"

    served.use(change)
    async with served.client.post("/invoke", json={}, headers=SENT) as response:
        assert response.status == 500


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([b"X-Tenant: a", b"x-tenant: b"], "a, b"),
        ([b"X-Tenant:"], ""),
        ([b"X-Tenant: \t a\tb "], "a\tb"),
        ([b"X-Tenant: sch\xc3\xb6n"], "schön"),
    ],
)
async def test_values(serve: Serve, lines: list[bytes], value: str) -> None:
    served = await service(serve, "X-Tenant")
    answer = await raw(served, [HEAD, *lines])
    assert answer.startswith(b"HTTP/1.1 200")
    assert f'"output":{{"X-Tenant":"{value}"}}'.replace("\t", "\\t").encode() in answer


async def test_cookies_of_several_lines_are_joined_by_semicolons(serve: Serve) -> None:
    served = await service(serve, "Cookie")
    assert b'{"Cookie":"a=1; b=2"}' in await raw(served, [HEAD, b"Cookie: a=1", b"Cookie: b=2"])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b"\xff"], b"is not UTF-8 text"),
        ([b"a" * 5000] * 2, b"has more than 8190 characters"),
    ],
)
async def test_value_that_is_no_text_or_too_long_is_refused(
    serve: Serve, values: list[bytes], reason: bytes
) -> None:
    served = await service(serve, "X-Tenant")
    answer = await raw(served, [HEAD, *(b"X-Tenant: " + value for value in values)])
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"VALIDATION_ERROR"' in answer
    assert reason in answer
    answer = await raw(served, [HEAD, *(b"X-Other: " + value for value in values)])
    assert answer.startswith(b"HTTP/1.1 200")


async def raw(served: Served, head: list[bytes]) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    lines = [b"POST /invoke HTTP/1.1", b"Host: localhost", b"Connection: close", *head, b"", b"{}"]
    writer.write(b"\r\n".join(lines))
    answer = await reader.read()
    writer.close()
    return answer


async def test_openapi_lists_them_where_runs_start(serve: Serve) -> None:
    served = await service(serve, *NAMES)
    async with served.client.get("/openapi.json") as response:
        paths = (await response.json())["paths"]
    for path in ("/invoke", "/invoke/stream", "/runs"):
        listed = [each for each in paths[path]["post"]["parameters"] if each["in"] == "header"]
        assert [each["name"] for each in listed] == ["Idempotency-Key", "X-Tenant", "accept-language"]
        assert not any(each.get("required") for each in listed)
    assert not [each for each in paths["/runs"]["get"]["parameters"] if each["in"] == "header"]
