"""Requests of A2A that are not valid, and the agent card below proxies and prefixes."""

from pathlib import Path
from typing import Any

import pytest

from dockrion.protocols.a2a import card
from tests.conftest import Serve
from tests.support import Served
from tests.web.protocols.a2a_client import A2A, call, message, posted

SEND = call("SendMessage", message())
INVALID: dict[str, tuple[Any, int]] = {
    "batch": ([SEND], -32600),
    "notification": ({name: value for name, value in SEND.items() if name != "id"}, -32600),
    "no JSON-RPC": ({"message": "Hello"}, -32600),
    "unknown method": (SEND | {"method": "SendMail"}, -32601),
    "method of neither version": (SEND | {"method": "message/Send"}, -32601),
    "no message": (SEND | {"params": {}}, -32602),
    "no parts": (SEND | {"params": message({}) | {"message": {"parts": []}}}, -32602),
    "empty part": (SEND | {"params": message({})}, -32602),
    "long id": (SEND | {"params": message(contextId="x" * 513)}, -32602),
    "no task": (call("GetTask", {"id": 7}), -32602),
    "unknown task": (call("GetTask", {"id": "unknown"}), -32001),
    "message to an unknown task": (SEND | {"params": message(taskId="\n\n")}, -32001),
    "unknown task watched": (call("SubscribeToTask", {"id": "unknown"}), -32001),
    "file of a URL": (SEND | {"params": message({"url": "file:///etc/passwd"})}, -32005),
    "push": (SEND | {"method": "CreateTaskPushNotificationConfig"}, -32003),
    "push of 0.3": (SEND | {"method": "tasks/pushNotificationConfig/set"}, -32003),
    "extended card": (SEND | {"method": "GetExtendedAgentCard"}, -32007),
}


async def test_requests_that_are_not_valid_are_refused_with_their_code(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    for name, (body, code) in INVALID.items():
        response = await posted(served, body)
        assert response["error"]["code"] == code, (name, response)
        assert response["id"] == (body.get("id") if isinstance(body, dict) else None)
        assert response["error"]["message"]
        (info,) = response["error"]["data"]
        assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert info["domain"] == ("a2a-protocol.org" if code > -32600 else "dockrion")
    for query in ("?on_disconnect=maybe", "?incarnation=x y"):
        body = SEND if "on" in query[:4] else call("GetTask", {"id": "unknown"})
        async with served.client.post(f"/a2a{query}", json=body) as answer:
            assert (await answer.json())["error"]["code"] == -32602


async def test_empty_ids_are_none(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    task = (await posted(served, call("SendMessage", message(taskId="", contextId=""))))["result"]["task"]
    assert task["contextId"] == task["id"]


async def test_a_malformed_position_is_refused(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    run_id = await served.start()
    await served.finished(run_id)
    body = call("SubscribeToTask", {"id": run_id})
    for last in ("x", "1.", "-1", "1" * 20):
        refused = await posted(served, body, headers={"Last-Event-ID": last})
        assert refused["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("method", "version", "supported"),
    [
        ("SendMessage", "1.0", True),
        ("SendMessage", "1.7", True),
        ("SendMessage", "0.3", False),
        ("SendMessage", "2.0", False),
        ("message/send", "0.3", True),
        ("message/send", "1.0", False),
    ],
)
async def test_version_that_the_header_names(
    serve: Serve, method: str, version: str, supported: bool
) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    response = await posted(served, SEND | {"method": method}, headers={"A2A-Version": version})
    assert response.get("error", {}).get("code") == (None if supported else -32009)


async def test_what_is_no_json_has_a_status_of_http(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    json_type = {"Content-Type": "application/json"}
    for data, headers, status, code in (
        (b"{", json_type, 400, -32700),
        (b"", json_type, 400, -32700),
        (b'{"a": "\xff"}', json_type, 400, -32700),
        (b"[" * 1000, json_type, 400, -32700),
        (b"{}", {"Content-Type": "text/plain"}, 415, -32005),
    ):
        async with served.client.post("/a2a", data=data, headers=headers) as response:
            assert response.status == status, await response.text()
            body = await response.json()
            assert (body["jsonrpc"], body["id"], body["error"]["code"]) == ("2.0", None, code)
    async with served.client.get("/a2a") as response:
        assert (response.status, response.headers["Allow"]) == (405, "OPTIONS, POST")
        assert (await response.json())["error"]["data"][0]["reason"] == "METHOD_NOT_ALLOWED"


async def test_service_that_accepts_no_more_work(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    await served.service.runs.drain(0)
    async with served.client.post("/a2a", json=SEND) as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
        body = await response.json()
        assert (body["id"], body["error"]["code"]) == (1, -32603)
        assert body["error"]["data"][0]["reason"] == "SERVICE_UNAVAILABLE"


async def urls(served: Served, path: str, **headers: str) -> set[str]:
    async with served.client.get(path, headers=headers) as response:
        assert response.status == 200
        body = await response.json()
    return {body["url"], *(each["url"] for each in body["supportedInterfaces"])}


async def test_card_names_the_url_at_which_the_caller_finds_the_service(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A | {"root_path": "/agents/writer"})
    here = str(served.client.make_url("")).rstrip("/")
    for path in (card.CARD_PATH, f"/agents/writer{card.CARD_PATH}"):
        assert await urls(served, path) == {f"{here}/agents/writer/a2a"}
    assert await urls(served, card.CARD_PATH, Host="other.example:81") == {
        "http://other.example:81/agents/writer/a2a"
    }
    proxied = await serve(lambda _: "Hi", expose=A2A | {"trusted_proxies": ["127.0.0.1"]})
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "example.org", "X-Forwarded-Prefix": "/w"}
    forwarded = {"X-Forwarded-For": "192.0.2.1", **said}
    assert await urls(proxied, card.CARD_PATH, **forwarded) == {"https://example.org/w/a2a"}
    untrusting = await serve(lambda _: "Hi", expose=A2A)
    here = str(untrusting.client.make_url("")).rstrip("/")
    assert await urls(untrusting, card.CARD_PATH, **forwarded) == {f"{here}/a2a"}


async def test_card_is_kept_by_its_readers(serve: Serve) -> None:
    served = await serve(lambda _: "Hi", expose=A2A)
    async with served.client.get(card.CARD_PATH) as response:
        assert response.headers["Cache-Control"] == "private, max-age=300"
        tag = response.headers["ETag"]
    async with served.client.get(card.CARD_PATH, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
    known = {"If-None-Match": tag, "Host": "other.example"}  # whose card has other URLs
    async with served.client.get(card.CARD_PATH, headers=known) as response:
        assert response.status == 200


async def test_card_shows_no_secret(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=hidden-value-1\n")
    served = await serve(
        lambda _: "Hi",
        expose=A2A,
        secrets={"required": [{"name": "TOKEN"}]},
        metadata={"tags": ["the hidden-value-1"]},
    )
    async with served.client.get(card.CARD_PATH) as response:
        assert "hidden-value-1" not in await response.text()
