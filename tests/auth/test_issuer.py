"""Requests to an issuer: what is sent, which responses are accepted, and the limits."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from dockrion.auth import issuer as issuer_module
from dockrion.auth.issuer import IssuerClient
from dockrion.errors import ServiceUnavailable
from tests.auth.issuers import (
    FAILURES,
    Handler,
    IssuerServer,
    crashing,
    failing_with,
    issuer,
    signing_key,
    slow,
)
from tests.support import wait_until


async def test_request_as_the_issuer_sees_it(served: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    served.client = ("id: ä", "s+e %:")
    about = IssuerClient(served.introspection_url, served.client)
    assert await about.fetch({"token": "t"}) == {"active": False}
    keys = IssuerClient(served.jwks_url)
    assert await keys.fetch() == {"keys": [signing_key().published]}
    await about.aclose()
    await keys.aclose()
    assert served.headers[0]["Content-Type"] == "application/x-www-form-urlencoded"
    assert served.headers[0]["Accept"] == "application/json"
    assert "Authorization" not in served.headers[1]
    assert not any("Cookie" in headers for headers in served.headers)


async def test_cookies_are_not_stored(served: IssuerServer) -> None:
    async def sets_one(_request: web.Request) -> web.StreamResponse:
        answer = web.json_response({})
        answer.set_cookie("session", "1")
        return answer

    served.handler = sets_one
    client = IssuerClient(served.jwks_url)
    assert await client.fetch() == await client.fetch() == {}
    await client.aclose()
    assert "Cookie" not in served.headers[1]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: str(answer.__name__))
@pytest.mark.parametrize("form", [None, {"token": "t"}], ids=["get", "post"])
async def test_every_failure_raises_the_same_error(
    answer: Handler, form: dict[str, str] | None, served: IssuerServer
) -> None:
    client = IssuerClient(served.jwks_url if form is None else served.introspection_url)
    with failing_with(served, answer), pytest.raises(ServiceUnavailable) as caught:
        await client.fetch(form)
    assert served.url not in caught.value.message
    assert caught.value.message == "the token issuer cannot be reached; try again later"
    assert served.requests == (2 if answer is crashing else 1)
    assert await client.fetch(form)
    await client.aclose()


async def test_closed_idle_connection_is_retried(
    served: IssuerServer,
) -> None:
    async def away_once(request: web.Request) -> web.StreamResponse:
        served.handler = None
        return await crashing(request)

    client = IssuerClient(served.introspection_url)
    assert await client.fetch({"token": "t"})
    served.handler = away_once
    assert await client.fetch({"token": "t"}) == {"active": False}
    assert served.requests == 3
    await client.aclose()


async def test_unreachable_issuer() -> None:
    async with issuer() as gone:
        client = IssuerClient(gone.jwks_url)
    with pytest.raises(ServiceUnavailable):
        await client.fetch()
    await client.aclose()


async def test_concurrent_requests_are_limited(served: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_module, "_MAX_CONCURRENT", 3)
    go, working, most = asyncio.Event(), 0, 0

    async def answer(_request: web.Request) -> web.StreamResponse:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await go.wait()
        working -= 1
        return web.json_response({})

    served.handler = answer
    client = IssuerClient(served.jwks_url)
    waiting = [asyncio.create_task(client.fetch()) for _ in range(20)]
    await wait_until(lambda: working == 3)
    go.set()
    assert await asyncio.gather(*waiting) == [{}] * 20
    assert (most, served.requests) == (3, 20)
    await client.aclose()


async def test_waiting_for_a_slot_counts_towards_the_timeout(
    served: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_module, "_MAX_CONCURRENT", 1)
    served.handler = slow
    client = IssuerClient(served.jwks_url)
    first = asyncio.create_task(client.fetch())
    await wait_until(lambda: served.requests == 1)
    monkeypatch.setattr(issuer_module, "_TOTAL_TIMEOUT", 0.05)
    with pytest.raises(ServiceUnavailable):
        await client.fetch()
    assert served.requests == 1
    first.cancel()
    await asyncio.wait((first,))
    await client.aclose()


async def test_cancelled_request_releases_its_slot(
    served: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_module, "_MAX_CONCURRENT", 1)
    served.handler = slow
    client = IssuerClient(served.jwks_url)
    leaving = asyncio.create_task(client.fetch())
    await wait_until(lambda: served.requests == 1)
    leaving.cancel()
    await asyncio.wait((leaving,))
    served.handler = None
    assert await client.fetch()
    await client.aclose()


async def test_self_signed_certificate_is_not_trusted(tmp_path: Path) -> None:
    asked_for: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked_for.append(request.path)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/keys", answer)
    async with TestServer(app, scheme="https") as server:
        await server.start_server(ssl=_self_signed(tmp_path))
        client = IssuerClient(str(server.make_url("/keys")))
        with pytest.raises(ServiceUnavailable):
            await client.fetch()
        await client.aclose()
    assert asked_for == []


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, now = signing_key("ES256").private, datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()) + signed.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
