"""Accepting connections, also when the kernel refuses to."""

import asyncio
import errno
import gc
import logging
import resource
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dockrion.server import acceptor
from dockrion.server.acceptor import Acceptor, raise_descriptor_limit
from dockrion.tls import ServerTls
from tests.certificates import write_certificate
from tests.support import TIMEOUT_SECONDS, wait_until

MESSAGE = "cannot accept connections at present"


class Listening(socket.socket):
    """A listening socket whose `accept` fails as often as it is told."""

    failures: list[int]
    attempts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        if self.failures:
            raise OSError(self.failures.pop(), "refused")
        return super().accept()


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
async def listening(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listening]:
    monkeypatch.setattr(acceptor, "_PAUSE_SECONDS", 0.02)
    with Listening() as made:
        made.failures = []
        made.bind(("127.0.0.1", 0))
        made.listen()
        accepts = Acceptor(made, Greeting)
        yield made
        accepts.close()


@contextmanager
def connected(listening: Listening) -> Iterator[socket.socket]:
    with socket.create_connection(listening.getsockname()) as client:
        client.setblocking(False)
        yield client


async def receive(client: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), TIMEOUT_SECONDS)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM])
async def test_connection_is_accepted_when_the_kernel_no_longer_refuses(
    listening: Listening, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    listening.failures = [number] * 5
    with connected(listening) as client:
        assert await receive(client) == b"hello"
    assert 6 <= listening.attempts <= 8
    assert [record.message for record in caplog.records] == [MESSAGE]


async def test_failure_is_logged_again_after_a_while(
    listening: Listening, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "_QUIET_SECONDS", 0.0)
    listening.failures = [errno.EMFILE] * 3
    with connected(listening) as client:
        assert await receive(client) == b"hello"
    assert [record.message for record in caplog.records] == [MESSAGE] * 3


async def test_peer_that_has_left_already_delays_nobody(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    listening.failures = [errno.ECONNABORTED]
    with connected(listening) as client:
        assert await receive(client) == b"hello"
    assert not caplog.records


@pytest.mark.parametrize("number", [errno.EMFILE, None])
async def test_closed_acceptor_uses_its_socket_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int | None
) -> None:
    monkeypatch.setattr(acceptor, "_PAUSE_SECONDS", 0.0)
    caplog.set_level(logging.DEBUG)
    made = Listening()
    made.failures = [number] if number else []
    made.bind(("127.0.0.1", 0))
    made.listen()
    accepts = Acceptor(made, Greeting)
    with connected(made):
        await wait_until(lambda: made.attempts)
        accepts.close()
        attempts = made.attempts
        resumed = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, resumed.set)
        await resumed.wait()
    assert made.attempts == attempts
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(1024, 4096, 4096), (1024, 10**9, 65_536), (100_000, 10**9, None), (256, 256, None)],
)
def test_limit_of_descriptors_is_raised_as_far_as_allowed(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limit: limits.append(limit))
    raise_descriptor_limit()
    assert limits == ([] if raised is None else [(raised, hard)])


def test_unlimited_descriptors_need_no_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, unlimited))
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limit: limits.append(limit))
    raise_descriptor_limit()
    assert limits == [(65_536, unlimited)]


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[Acceptor]:
    write_certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as made:
        accepts = Acceptor(made, Greeting, ServerTls(tmp_path / "certificate.pem", tmp_path / "key.pem"))
        yield accepts
        accepts.close()


async def received_over(accepts: Acceptor, sent: bytes) -> bytes:
    """Return what a peer that sends something else than TLS receives."""
    reader, writer = await asyncio.open_connection(*accepts._listening.getsockname())
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS)
    except ConnectionResetError:  # the server has closed the connection before it has read what was sent
        return b""
    finally:
        writer.close()


async def test_connections_are_encrypted(encrypted: Acceptor, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    reader, writer = await asyncio.open_connection(*encrypted._listening.getsockname(), ssl=context)
    assert await reader.read() == b"hello"
    writer.close()


async def test_failed_handshakes_are_logged_once_in_a_while(
    encrypted: Acceptor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert b"hello" not in await received_over(encrypted, b"GET / HTTP/1.1\r\n\r\n")
    await wait_until(lambda: not encrypted._opening)
    monkeypatch.setattr(acceptor, "_QUIET_SECONDS", 0.0)
    await received_over(encrypted, b"GET / HTTP/1.1\r\n\r\n")
    await wait_until(lambda: len(caplog.records) == 2)
    assert [vars(record)["fields"] for record in caplog.records] == [
        {"client": "127.0.0.1", "reason": "HTTP_REQUEST", "count": count} for count in (1, 3)
    ]


async def test_slow_handshake_has_an_end_and_delays_nobody(
    encrypted: Acceptor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    with monkeypatch.context() as patched:
        patched.setattr(acceptor, "_HANDSHAKE_SECONDS", 0.2)
        slow = asyncio.create_task(received_over(encrypted, b"\x16"))
        await wait_until(lambda: encrypted._opening)
    await test_connections_are_encrypted(encrypted, tmp_path)
    assert await slow == b""
    await wait_until(lambda: caplog.records)
    assert [vars(record)["fields"]["reason"] for record in caplog.records] == ["too slow"]


async def test_oldest_of_too_many_handshakes_is_ended(
    encrypted: Acceptor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(acceptor, "_MAX_HANDSHAKES", 3)
    slow = []
    for number in range(5):
        slow.append(asyncio.create_task(received_over(encrypted, b"\x16")))
        await wait_until(lambda number=number: len(encrypted._opening) == min(number + 1, 3))  # type: ignore[misc]
    assert [await each for each in slow[:2]] == [b"", b""]
    await test_connections_are_encrypted(encrypted, tmp_path)
    assert await slow[2] == b""
    assert not any(each.done() for each in slow[3:])
    assert [vars(record)["fields"]["reason"] for record in caplog.records] == ["too many at once"]
    assert len(encrypted._handshakes) == 2
    for each in slow[3:]:
        each.cancel()
    await wait_until(lambda: not encrypted._opening)
    assert not encrypted._handshakes


async def test_failed_handshakes_free_their_memory_at_once(
    encrypted: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = weakref.WeakSet[Greeting]()

    def make() -> Greeting:
        made.add(protocol := Greeting())
        return protocol

    monkeypatch.setattr(encrypted, "_factory", make)
    monkeypatch.setattr(acceptor, "_MAX_HANDSHAKES", 1)
    gc.disable()
    try:
        oldest = asyncio.create_task(received_over(encrypted, b"\x16"))
        await wait_until(lambda: made)
        assert b"hello" not in await received_over(encrypted, b"GET / HTTP/1.1\r\n\r\n")
        assert await oldest == b""
        await wait_until(lambda: not made)
    finally:
        gc.enable()


async def test_peer_that_leaves_during_the_handshake_is_no_news(
    encrypted: Acceptor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection(*encrypted._listening.getsockname())
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS) == b""
    writer.close()
    await wait_until(lambda: not encrypted._opening)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
