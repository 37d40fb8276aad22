"""Services whose agents are the handlers of `tests.agents.typed`."""

from typing import Any

from tests.support import Served


def agent(name: str, mode: str = "handler") -> dict[str, Any]:
    spec = {"name": "tested", mode: f"tests.agents.typed:{name}"}
    return spec | ({"framework": "custom"} if mode == "entrypoint" else {})


async def invoked(served: Served, payload: Any) -> Any:
    async with served.client.post("/invoke", json=payload) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["output"]
