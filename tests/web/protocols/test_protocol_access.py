"""Who may use the endpoints of protocols: as everywhere, whoever is authenticated and owns the run."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.web.protocols import protocol_routes
from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import Headers, api_keys
from tests.web.protocols.test_every_protocol import CLIENTS

NAMES: list[ProtocolName] = list(get_args(ProtocolName))
RUN = "made-by-owner"
OF_A_RUN = {f"{route.method} {route.path}" for route in protocol_routes(NAMES) if "{run_id}" in route.path}
BODIES = {client.path: client.body for client in CLIENTS.values()}
OPEN_TO_ALL_USERS = {"GET /v1/models", "GET /v1/models/{model}"}
OPEN_TO_ALL = {"GET /.well-known/agent-card.json"}


def paths() -> Iterator[tuple[str, str, str]]:
    """Yield each endpoint, its method and a path of it, that of the owner's run where there is one."""
    for route in protocol_routes(NAMES):
        if f"{route.method} {route.path}" in OPEN_TO_ALL:
            continue
        path = route.path.replace("{run_id}", RUN).replace("{model}", "tested").replace("{chat_id}", "chat")
        yield f"{route.method} {route.path}", route.method, path


async def statuses(served: Served, headers: Headers) -> dict[str, int]:
    found = {}
    for endpoint, method, path in paths():
        async with served.client.request(
            method, path, json=BODIES.get(path, {}), headers=headers
        ) as response:
            found[endpoint] = response.status
            await response.read()
    return found


async def test_every_endpoint_applies_authentication_permissions_and_ownership(
    serve: Serve, tmp_path: Path
) -> None:
    async with api_keys() as mode:
        served = await serve(lambda _payload: "Hi", expose={"protocols": NAMES}, **mode.sections(tmp_path))
        body = {"id": "chat", "messages": CLIENTS["vercel-ai"].body["messages"]}
        async with served.client.post("/api/chat", json=body, headers=mode.key("owner")) as response:
            await response.read()
        path = f"/runs?run_id={RUN}"
        async with served.client.post(path, json={}, headers=mode.key("owner")) as response:
            assert response.status == 202
        async with served.client.get(f"/runs/{RUN}/events", headers=mode.key("owner")) as response:
            await response.read()

        for endpoint in OPEN_TO_ALL:
            async with served.client.get(endpoint.partition(" ")[2]) as response:
                assert response.status == 200
        for wrong in mode.wrong.values():
            assert set((await statuses(served, wrong)).values()) == {401}
        bearer = {"Authorization": f"Bearer {mode.key('scribe')['X-API-Key']}"}
        for headers in (mode.key("scribe"), bearer):
            for endpoint, status in (await statuses(served, headers)).items():
                assert status == (200 if endpoint in OPEN_TO_ALL_USERS else 403), endpoint
        mine, others = [await statuses(served, mode.key(user)) for user in ("owner", "other")]
        assert {mine[endpoint] for endpoint in OF_A_RUN} <= {200, 204, 400}
        assert {others[endpoint] for endpoint in OF_A_RUN} == {404}
        unknown = {endpoint: status for endpoint, status in mine.items() if endpoint not in OF_A_RUN}
        assert set(unknown.values()) <= {200, 204}
