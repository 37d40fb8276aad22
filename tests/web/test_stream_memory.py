"""A stream keeps nothing of the run's record, whose output may be as large as an event."""

import weakref
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.backends.run_log import Run
from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import Waits
from tests.web.test_events_tokens import begun
from tests.web.test_ownership import key
from tests.web.transports.readers import WEBSOCKET


class Value:
    """A part of a record; can be referred to weakly."""


def watch_records(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Value]]:
    """Give each record that is read a value of its own, as it has over Redis; return references to them."""
    get, values = served.backend.get, []

    async def get_own(run_id: str) -> Run:
        value = Value()
        values.append(weakref.ref(value))
        return msgspec.structs.replace(await get(run_id), metadata={"value": value})

    monkeypatch.setattr(served.backend, "get", get_own)
    return values


@pytest.mark.parametrize("how", ["key", "token", "token for websocket"])
async def test_stream_does_not_hold_the_record_of_its_run(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with api_keys() as mode:
        served = await serve(agent := Waits(), expose=WEBSOCKET, **mode.sections(tmp_path))
    run_id, token = await begun(served)
    values = watch_records(served, monkeypatch)
    params: dict[str, Any] = {} if how == "key" else {"token": token}
    headers: Headers = key("owner") if how == "key" else {}
    if how.endswith("websocket"):
        async with served.client.ws_connect(f"/runs/{run_id}/ws", params=params, headers=headers) as socket:
            await socket.receive()
            assert [value() for value in values] == [None]
            agent.go.set()
        return
    async with served.client.get(f"/runs/{run_id}/events", params=params, headers=headers) as response:
        await response.content.readany()
        assert [value() for value in values] == [None]
        agent.go.set()
