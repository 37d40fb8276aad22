"""A client that is closed leaves no connection open, whatever is under way, and opens none later."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import Connection

from dockrion.backends.redis import connections
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.connections import ReplaceableConnections, pool_options
from dockrion.backends.redis.keys import Command
from dockrion.errors import ServiceUnavailable
from tests.certificates import write_certificate
from tests.servers import KINDS, RedisServer, free_port
from tests.support import wait_until

BLOCK: Command = ("BLPOP", "no such list", 0)
Send = Callable[[RedisClient], Coroutine[Any, Any, list[Any]]]


async def large(client: RedisClient) -> list[Any]:
    return await client.send_large(BLOCK, size=1)


async def background(client: RedisClient) -> list[Any]:
    return await client.send_background(BLOCK)


async def request(client: RedisClient) -> list[Any]:
    return await client.send(BLOCK)


async def pipeline(client: RedisClient) -> list[Any]:
    return await client.send(("GET", "key"), BLOCK)


async def blocking(client: RedisClient) -> list[Any]:
    await client.check_servers()
    return await client.send_blocking(BLOCK)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(KINDS[0], tmp_path) as started:
        yield started


def blocked(server: RedisServer) -> int:
    return int(server.command("INFO", "clients")["blocked_clients"])


async def assert_closed(server: RedisServer, *under_way: asyncio.Task[Any]) -> None:
    for each in under_way:
        assert each.done()
        with pytest.raises(ServiceUnavailable):
            each.result()
    await wait_until(lambda: server.clients() == 0)


@pytest.mark.parametrize("send", [request, pipeline, large, background, blocking])
async def test_commands_that_wait_for_a_reply_fail(server: RedisServer, send: Send) -> None:
    client = RedisClient(server.url, pool_size=1)
    sending = asyncio.create_task(send(client))
    await wait_until(lambda: blocked(server) == 1)
    await client.aclose()
    await assert_closed(server, sending)


async def test_commands_that_wait_for_a_connection_fail(server: RedisServer) -> None:
    client = RedisClient(server.url, pool_size=1)
    sending = [asyncio.create_task(request(client)) for _ in range(3)]
    await wait_until(lambda: blocked(server) == 1)
    await client.aclose()
    await assert_closed(server, *sending)


@pytest.mark.parametrize("swallows", [False, True])
async def test_commands_that_are_connecting_fail(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, swallows: bool
) -> None:
    connect: Any = Connection._connect
    connecting = asyncio.Event()

    async def slow(connection: Connection) -> None:
        if not connecting.is_set():
            connecting.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not swallows:
                    raise
        await connect(connection)

    monkeypatch.setattr(Connection, "_connect", slow)
    client = RedisClient(server.url, pool_size=1)
    sending = asyncio.create_task(request(client))
    await connecting.wait()
    await client.aclose()
    await assert_closed(server, sending)


@pytest.mark.parametrize("send", [request, pipeline, large, background, RedisClient.check_servers])
async def test_later_commands_are_refused(server: RedisServer, send: Send) -> None:
    client = RedisClient(server.url, pool_size=1)
    await client.send(("GET", "key"))
    await client.aclose()
    with pytest.raises(ServiceUnavailable):
        await send(client)
    assert client.health.last_failure is None
    await assert_closed(server)


async def test_a_server_that_was_replaced_is_not_connected_to(server: RedisServer) -> None:
    replaced = ReplaceableConnections(BlockingConnectionPool(**pool_options(server.url, 1, 3.0)))
    replies = partial(replaced.replies, [BLOCK])
    sending = asyncio.create_task(replies())
    await wait_until(lambda: blocked(server) == 1)
    await replaced.aclose()
    for each in (sending, replies()):
        with pytest.raises(exceptions.ConnectionError, match="replaced"):
            await each
    await assert_closed(server)


async def test_a_server_that_does_not_reply_hinders_no_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS has an end that the other side confirms. The wheel's Valkey is built without it."""
    monkeypatch.setattr(connections, "_CONNECT_SECONDS", 2.0)  # closing may take as long
    write_certificate(tmp_path)
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    with RedisServer(
        *("redis", tmp_path, "--tls-cert-file", certificate, "--tls-key-file", key),
        *("--tls-auth-clients", "no", "--tls-port", str(port := free_port())),
    ) as server:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        client, other = (
            RedisClient(url, pool_size=1),
            ReplaceableConnections(BlockingConnectionPool(**pool_options(url, 1, 3.0))),
        )
        await client.send(("GET", "key"))
        await client.send_background(("GET", "key"))
        await other.replies([("GET", "key")])
        server.pause()
        await asyncio.gather(client.aclose(), other.leave())
        server.resume()
        await assert_closed(server)
