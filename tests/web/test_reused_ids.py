"""Run ids that are used again once their run is forgotten: nobody gets what is another run's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends import follow
from tests import support
from tests.backends.conformance import forget
from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import error_of
from tests.web.transports.readers import TRANSPORTS, WEBSOCKET, Received, Refused

pytestmark = pytest.mark.usefixtures("every_backend")
ID = "report"
SECTIONS = {
    "expose": WEBSOCKET,
    "streaming": {"ingest": support.INGEST, "events": {"heartbeat_interval": 0.3}},
}
LONG = 900  # events, more than a page
INCARNATION = "X-Run-Incarnation"


async def speak(payload: dict[str, Any], context: StreamContext) -> str:
    """Say whose run this is, many times."""
    for _ in range(payload["times"]):
        await context.emit_token(payload["whose"])
    return str(payload["whose"])


def key(user: str) -> Headers:
    return {"X-API-Key": f"the key of {user} that nobody guesses"}


async def replicas(serve: Serve, **sections: Any) -> tuple[Served, Served]:
    """Serve with two replicas; on the memory backend both are one."""
    first = await serve(speak, **SECTIONS, **sections)
    return first, await serve(speak, **SECTIONS, **sections) if support.SHARED_REDIS else first


@asynccontextmanager
async def protected(serve: Serve, folder: Path) -> AsyncIterator[tuple[Served, Served]]:
    async with api_keys() as mode:
        yield await replicas(serve, **mode.sections(folder))


async def finished_run(served: Served, whose: str, times: int = 3) -> str:
    """Make a run with the id, wait for its end, and return its incarnation."""
    headers, params = key(whose), {"run_id": ID}
    body = {"whose": whose, "times": times}
    async with served.client.post("/runs", json=body, params=params, headers=headers) as response:
        assert response.status == 202, await response.text()
        incarnation = response.headers[INCARNATION]
    async with served.client.get(f"/runs/{ID}/events", headers=headers) as response:
        await response.read()
    return incarnation


async def external_run(served: Served) -> str:
    """Open a run with the id that waits for pushed events, and return its incarnation."""
    params = {"run_id": ID, "external": "true"}
    async with served.client.post("/runs", json={}, params=params) as response:
        assert response.status == 202, await response.text()
        return response.headers[INCARNATION]


async def replaced_run(served: Served, whose: str, times: int = 3) -> str:
    """Replace the finished run by that of another caller."""
    await forget(served.service.backend, ID)
    return await finished_run(served, whose, times)


async def text_of(served: Served, user: str, **query: Any) -> str:
    """Return the whole stream as a caller gets it, or the body of an error."""
    async with served.client.get(f"/runs/{ID}/events", params=query, headers=key(user)) as response:
        return await response.text()


async def collect(served: Served, transport: str, **query: Any) -> list[Received]:
    async with TRANSPORTS[transport](served, ID, **query) as stream:
        return [each async for each in stream]


async def test_a_replica_serves_no_page_of_an_earlier_run(serve: Serve, tmp_path: Path) -> None:
    async with protected(serve, tmp_path) as (one, other):
        await finished_run(one, "owner", LONG)
        assert (await text_of(other, "owner")).count('"content":"owner"') == LONG
        await replaced_run(one, "other", LONG)
        for served in (one, other):
            text = await text_of(served, "other")
            assert "owner" not in text
            assert text.count('"content":"other"') == LONG
            assert "NOT_FOUND" in await text_of(served, "owner")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_position_of_a_longer_earlier_run_starts_over_after_a_gap(
    serve: Serve, transport: str
) -> None:
    one, other = await replicas(serve)
    await finished_run(one, "owner", 50)
    assert len(await collect(other, transport)) == 52
    await replaced_run(one, "other", 3)
    first, *rest = await collect(other, transport, from_sequence=53)
    assert (first.type, first.sequence) == ("gap", None)
    assert b'"requested":53,"first_available":1' in first.data
    assert [event.sequence for event in rest] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cursor_with_an_incarnation_never_continues_in_another_run(
    serve: Serve, transport: str
) -> None:
    one, other = await replicas(serve)
    former = await finished_run(one, "owner")
    continued = await collect(other, transport, from_sequence=3, incarnation=former)
    assert [event.sequence for event in continued] == [3, 4, 5]
    latter = await replaced_run(one, "other")
    for after in (0, 3, 100):
        with pytest.raises(Refused) as refused:
            await collect(other, transport, from_sequence=after, incarnation=former)
        assert refused.value.code in (404, 4404)
    continued = await collect(other, transport, from_sequence=3, incarnation=latter)
    assert [event.sequence for event in continued] == [3, 4, 5]


async def test_a_malformed_incarnation_is_refused(serve: Serve) -> None:
    served, _ = await replicas(serve)
    await finished_run(served, "owner")
    for text in ("", "x", "0" * 15, "0" * 17, "F" * 16, "*"):
        async with served.client.get(f"/runs/{ID}", params={"incarnation": text}) as response:
            assert INCARNATION in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]


def replace_before_use(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the run after a caller was authorized, just before the backend watches or reads it."""
    backend = served.service.backend
    watch, read = backend.watch, backend.read
    replaced = False

    async def replace_once() -> None:
        nonlocal replaced
        if not replaced:
            replaced = True
            await replaced_run(served, "other", LONG)

    @asynccontextmanager
    async def late_watch(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        await replace_once()
        async with watch(*arguments, **options) as entered:
            yield entered

    async def late_read(*arguments: Any) -> Any:
        await replace_once()
        return await read(*arguments)

    monkeypatch.setattr(backend, "watch", late_watch)
    monkeypatch.setattr(backend, "read", late_read)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson", "application/json"])
@pytest.mark.parametrize("credential", ["key", "token"])
async def test_who_may_read_a_run_may_not_read_what_replaces_it_meanwhile(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept: str, credential: str
) -> None:
    async with protected(serve, tmp_path) as (one, other):
        await finished_run(one, "owner")
        headers, query = key("owner"), dict[str, str]()
        if credential == "token":
            async with one.client.post(f"/runs/{ID}/token", headers=headers) as response:
                headers, query = {}, {"token": (await response.json())["events_token"]}
        replace_before_use(other, monkeypatch)
        async with other.client.get(
            f"/runs/{ID}/events", headers=headers | {"Accept": accept}, params=query
        ) as response:
            assert response.status == 404
            assert "other" not in await response.text()


async def test_a_cancel_of_a_run_does_not_reach_what_replaces_it_meanwhile(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with protected(serve, tmp_path) as (one, other):
        await finished_run(one, "owner")
        replace_before_use(other, monkeypatch)
        async with other.client.delete(f"/runs/{ID}", headers=key("owner")) as response:
            await error_of(response, 404, "NOT_FOUND")


async def test_a_token_for_events_is_invalid_for_a_later_run(serve: Serve, tmp_path: Path) -> None:
    async with protected(serve, tmp_path) as (one, other):
        await finished_run(one, "owner")
        async with one.client.post(f"/runs/{ID}/token", headers=key("owner")) as response:
            token = (await response.json())["events_token"]
        await replaced_run(one, "other")
        async with other.client.get(f"/runs/{ID}/events", params={"token": token}) as response:
            await error_of(response, 401, "AUTH_ERROR")


async def test_what_names_an_earlier_incarnation_finds_no_run(serve: Serve) -> None:
    one, other = await replicas(serve)
    former = await finished_run(one, "owner")
    await forget(one.service.backend, ID)
    latter = await external_run(one)
    event = {"type": "token", "content": "late"}
    for served in (one, other):
        for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/events")):
            body = event if method == "POST" else None
            named = {"incarnation": former}
            async with served.client.request(method, f"/runs/{ID}{path}", params=named, json=body) as found:
                await error_of(found, 404, "NOT_FOUND")
    named = {"incarnation": latter}
    async with other.client.post(f"/runs/{ID}/events", params=named, json=event) as response:
        assert response.status == 200, await response.text()
    async with other.client.delete(f"/runs/{ID}", params=named) as response:
        assert response.status == 200, await response.text()
    assert [each.type for each in await collect(one, "sse")] == ["started", "token", "cancelled"]


async def test_a_reader_of_a_replaced_run_gets_gone_and_no_event_of_the_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not support.SHARED_REDIS:
        return  # memory forgets no run that is not over
    monkeypatch.setattr(follow, "_RECREATED_SECONDS", 0.1)
    one, other = await replicas(serve)
    await external_run(one)
    async with one.events(ID) as near, other.events(ID) as far:
        for reader in (near, far):
            await reader.until("started")
        await forget(one.service.backend, ID)
        await finished_run(other, "other")
        for reader in (near, far):
            assert {each.event for each in await reader.all()} - {"heartbeat"} == {"gone"}
            assert b"other" not in reader.raw
