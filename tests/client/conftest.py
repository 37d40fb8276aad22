"""Fixtures of the client's tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from dockrion.client import Client
from dockrion.wire import sse
from tests.client.proxies import Proxy
from tests.support import Served

Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(autouse=True)
def short_reconnect_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PREAMBLE", b"retry: 1\n")


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Create a client of a service, a proxy or a URL: `await connect(served)`."""
    async with AsyncExitStack() as stack:

        async def make(where: Served | Proxy | str, **more: Any) -> Client:
            url = where if isinstance(where, str) else f"http://127.0.0.1:{where.port}"
            return await stack.enter_async_context(Client(url, **more))

        yield make
