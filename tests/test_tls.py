"""The certificate of a service: what is refused, and how it is replaced."""

import asyncio
import logging
import os
import shutil
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from pathlib import Path

import pytest

from dockrion.errors import StartError
from dockrion.tls import ServerTls, shrink_buffers
from tests.certificates import write_certificate


async def test_buffers_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSLProtocol, "max_size", SSLProtocol.max_size)
    shrink_buffers()
    write_certificate(tmp_path)
    connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda _, writer: connected.put_nowait(writer), "127.0.0.1", 0, ssl=load(tmp_path).context
    )
    trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    async with server:
        _, client = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trusting)
        ours = await connected.get()
        protocol = vars(ours.transport)["_ssl_protocol"]
        held = [each for each in vars(protocol).values() if isinstance(each, bytearray)]
        assert 0 < sum(map(len, held)) < 20_000
        for each in (client, ours):
            each.close()
            await each.wait_closed()


def load(folder: Path) -> ServerTls:
    return ServerTls(folder / "certificate.pem", folder / "key.pem")


def test_context_needs_tls_1_2(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    context = load(tmp_path).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def _swap(folder: Path) -> None:
    (folder / "key.pem").rename(folder / "other")
    (folder / "certificate.pem").rename(folder / "key.pem")
    (folder / "other").rename(folder / "certificate.pem")


def _other_key(folder: Path) -> None:
    kept = (folder / "certificate.pem").read_bytes()
    write_certificate(folder)
    (folder / "certificate.pem").write_bytes(kept)


def _directory(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()


def _device(folder: Path) -> None:
    (folder / "certificate.pem").unlink()
    (folder / "certificate.pem").symlink_to("/dev/zero")


def _pipe(folder: Path) -> None:
    (folder / "key.pem").unlink()
    os.mkfifo(folder / "key.pem")


def _large(folder: Path) -> None:
    with (folder / "key.pem").open("ab") as file:
        file.truncate(2**20 + 1)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no certificate": (
        lambda folder: (folder / "certificate.pem").unlink(),
        "expose.tls.certificate: cannot read {}/certificate.pem: No such file or directory",
    ),
    "no key": (
        lambda folder: (folder / "key.pem").unlink(),
        "expose.tls.key: cannot read {}/key.pem: No such file or directory",
    ),
    "directory": (_directory, "expose.tls.key: cannot read {}/key.pem: it is no regular file"),
    "device": (_device, "expose.tls.certificate: cannot read {}/certificate.pem: it is no regular file"),
    "pipe": (_pipe, "expose.tls.key: cannot read {}/key.pem: it is no regular file"),
    "large": (_large, "expose.tls.key: cannot read {}/key.pem: it is larger than 1 MiB"),
    "empty": (
        lambda folder: (folder / "certificate.pem").write_text(""),
        "expose.tls.certificate: {}/certificate.pem has no certificate in PEM",
    ),
    "swapped": (_swap, "expose.tls.certificate: {}/certificate.pem has no certificate in PEM"),
    "malformed": (
        lambda folder: (folder / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n"),
        "expose.tls: {0}/certificate.pem, or the private key in {0}/key.pem, is not valid PEM",
    ),
    "of another": (
        _other_key,
        "expose.tls: the key in {0}/key.pem is not that of the first certificate in {0}/certificate.pem",
    ),
    "encrypted": (
        lambda folder: write_certificate(folder, password="never asked for"),
        (
            "expose.tls.key: {}/key.pem is encrypted; decrypt it with `openssl pkey -in … -out …`, "
            "into a file that only this service can read"
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_be_used_are_refused_and_do_not_replace_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    spoil, message = REFUSED[case]
    write_certificate(tmp_path)
    tls = load(tmp_path)
    before = tls.context
    spoil(tmp_path)
    with pytest.raises(StartError) as refused:
        load(tmp_path)
    assert str(refused.value) == message.format(tmp_path)
    tls.reload()
    assert tls.context is before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert vars(record)["fields"] == {"reason": message.format(tmp_path)}
    assert "hunter2" not in caplog.text


def test_new_files_are_for_new_connections(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_certificate(tmp_path)
    tls = load(tmp_path)
    before = tls.context
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    write_certificate(tmp_path)
    tls.reload()
    assert tls.context is not before
    assert [record.message for record in caplog.records] == ["certificate read again"]
