"""What systemd is told, and the sockets that it hands over."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from dockrion.errors import StartError
from dockrion.server import systemd
from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address
from dockrion.server.systemd import NotifyingAnnouncer, inherited_sockets

ABSTRACT = f"@dockrion-tests-{os.getpid()}"


@contextmanager
def manager(path: str) -> Iterator[socket.socket]:
    """Listen on a notify socket, as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        receiving.setblocking(False)
        yield receiving


def received(receiving: socket.socket) -> list[str]:
    """Return the first lines of what has arrived."""
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(receiving.recv(1000).decode().splitlines()[0])
    return messages


@pytest.mark.parametrize("abstract", [False, True])
async def test_each_state_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    path = ABSTRACT if abstract else str(tmp_path / "s")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    person = Mock(spec=Announcer)
    with manager(path) as receiving:
        announcer = NotifyingAnnouncer(person)
        assert "NOTIFY_SOCKET" not in os.environ
        announcer.listening(Address("localhost", 80), 80)
        announcer.reloading(["agent.py"])
        assert received(receiving) == []
        announcer.ready()
        assert received(receiving) == ["READY=1"]
        announcer.draining(["a"], 3)
        announcer.ended()
        assert received(receiving) == ["STOPPING=1"]
    assert [call[0] for call in person.method_calls] == [
        *("listening", "reloading", "ready", "draining", "ended")
    ]
    announcer.draining([], 0)  # there is nobody to tell


@pytest.mark.parametrize("named", [False, True])
async def test_a_watchdog_gets_signs_while_the_loop_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    path = str(tmp_path / "s")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if named else "")
    with manager(path) as receiving:
        announcer = NotifyingAnnouncer(Announcer())
        announcer.ready()
        announcer.ready()
        assert received(receiving) == ["READY=1", "WATCHDOG=1", "READY=1"]
        time.sleep(0.04)  # the loop is blocked
        assert received(receiving) == []
        for _ in range(2):
            sign = await asyncio.get_running_loop().sock_recv(receiving, 100)
            assert sign == b"WATCHDOG=1"
        announcer.ended()
        received(receiving)
        await asyncio.sleep(0.02)
        assert received(receiving) == []


async def test_another_processs_watchdog_gets_no_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    with manager(path) as receiving:
        NotifyingAnnouncer(Announcer()).ready()
        assert received(receiving) == ["READY=1"]


@pytest.mark.parametrize("text", ["soon", "9" * 5000])
def test_a_malformed_interval_refuses_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/s")
    monkeypatch.setenv("WATCHDOG_USEC", text)
    with pytest.raises(StartError, match=f"WATCHDOG_USEC: expected microseconds, got '{text[:90]}") as raised:
        NotifyingAnnouncer(Announcer())
    assert len(str(raised.value)) < 200


async def test_a_manager_that_is_away_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "s")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    announcer = NotifyingAnnouncer(Announcer())
    for _ in range(3):
        announcer.ready()
    assert [record.message for record in caplog.records] == ["systemd not notified"]
    with manager(path):
        announcer.ready()
    announcer.ready()
    assert len(caplog.records) == 2


def inherit(monkeypatch: pytest.MonkeyPatch, *sockets: socket.socket, count: str = "") -> None:
    """Set what systemd sets for sockets, except that these are not the descriptors from 3 on."""
    monkeypatch.setattr(systemd, "_FIRST_DESCRIPTOR", min(each.fileno() for each in sockets))
    monkeypatch.setenv("LISTEN_FDS", count or str(len(sockets)))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDNAMES", "http")


async def test_listening_sockets_are_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
        duplicate = opened.dup()
        duplicate.set_inheritable(True)
        inherit(monkeypatch, duplicate)
        duplicate.detach()
        async with Address("localhost", 1).listen() as sockets:
            (listening,) = sockets
            with listening:
                assert listening.getsockname()[1] == port
                assert not listening.get_inheritable()
        assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} & set(os.environ)


def test_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert inherited_sockets() == []


def test_what_does_not_listen_refuses_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        opened = socket.socket(socket.AF_INET, kind)
        inherit(monkeypatch, opened)
        opened.detach()
        with pytest.raises(StartError, match="needs ListenStream= and Accept=no"):
            inherited_sockets()


def test_a_unix_socket_without_a_file_refuses_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"\0{ABSTRACT}-listening")
    listening.listen()
    inherit(monkeypatch, listening)
    listening.detach()
    with pytest.raises(StartError, match="open to every process"):
        inherited_sockets()


def test_what_is_no_socket_refuses_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as opened:
        inherit(monkeypatch, Mock(fileno=opened.fileno))
        with pytest.raises(StartError, match="of LISTEN_FDS: Socket operation on non-socket"):
            inherited_sockets()
        for count in ("many", "9" * 5000):
            inherit(monkeypatch, Mock(fileno=opened.fileno), count=count)
            with pytest.raises(StartError, match=f"LISTEN_FDS: expected a number, got '{count[:90]}"):
                inherited_sockets()
