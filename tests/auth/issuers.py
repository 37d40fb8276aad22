"""Issuers of tokens: their keys, the tokens they sign, and the servers they publish and explain them on."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dockrion.auth import issuer as asking

ISSUER, AUDIENCE = "https://issuer.test", "dockrion"
_CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@cache
def _private(kind: str, key_id: str, bits: int) -> Any:  # noqa: ARG001  other ids have other keys
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(_CURVES[kind])


class SigningKey:
    """A key of an issuer; made once for each algorithm and id, by `signing_key`."""

    def __init__(self, algorithm: str, key_id: str, *, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.private = _private("RSA" if algorithm.startswith("RS") else algorithm, key_id, bits)

    @cached_property
    def pem(self) -> str:
        """The public key, as `auth.jwt.public_key_env` takes it."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return str(self.private.public_key().public_bytes(serialization.Encoding.PEM, kind).decode())

    @cached_property
    def published(self) -> dict[str, Any]:
        """The public key, as a key set has it."""
        described = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return dict(described) | {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}


@cache
def signing_key(algorithm: str = "RS256", key_id: str = "first") -> SigningKey:
    return SigningKey(algorithm, key_id)


def issue_token(
    *, signed_by: SigningKey | str | None = None, headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """Return a signed token, good for five minutes unless the claims say otherwise.

    Args:
        signed_by: The key, or a secret for HS256; `signing_key()` by default.
        headers: What differs in its header; what is None is left out.
        claims: What differs in its claims; what is None is left out.
    """
    key = signing_key() if signed_by is None else signed_by
    now = int(time.time())
    usual = {"sub": "user-1", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300}
    named = {"alg": "HS256"} if isinstance(key, str) else {"alg": key.algorithm, "kid": key.key_id}
    return jwt.PyJWS().encode(
        json.dumps(_given({**usual, **claims})).encode(),
        key if isinstance(key, str) else key.private,
        algorithm=None,  # the header's
        headers=_given({**named, **(headers or {})}),
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass
class IssuerServer:
    """Publishes keys at `jwks_url`, and explains tokens at `introspection_url`.

    Attributes:
        keys: Those it publishes.
        tokens: What it says of each token; of others, that they are not active.
        client: The id and the secret that it wants from those who ask about tokens.
        misbehave: What it answers instead of the truth.
        asked: How often it was asked.
    """

    keys: list[SigningKey] = field(default_factory=lambda: [signing_key()])
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    client: tuple[str, str] | None = None
    misbehave: Answer | None = None
    asked: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/keys"

    @property
    def introspection_url(self) -> str:
        return f"{self.url}/introspect"

    def explain(self, token: str, **claims: Any) -> str:
        """Make a token active, with claims; what is None is left out. Return it."""
        usual = {"active": True, "sub": "user-1", "exp": int(time.time()) + 300, "scope": "read write"}
        self.tokens[token] = _given({**usual, **claims})
        return token

    async def publish(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request) or web.json_response(
            {"keys": [key.published for key in self.keys]}
        )

    async def introspect(self, request: web.Request) -> web.StreamResponse:
        if (answer := await self._answer(request)) is not None:
            return answer
        if self.client is not None and _client(request) != self.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        form = await request.post()
        return web.json_response(self.tokens.get(str(form["token"]), {"active": False}))

    async def _answer(self, request: web.Request) -> web.StreamResponse | None:
        self.asked += 1
        self.headers.append(dict(request.headers))
        return None if self.misbehave is None else await self.misbehave(request)


def _client(request: web.Request) -> tuple[str, ...]:
    """Return who asks (RFC 6749, 2.3.1)."""
    value = request.headers.get("Authorization", "").removeprefix("Basic ")
    return tuple(unquote_plus(part) for part in b64decode(value).decode().split(":"))


@asynccontextmanager
async def issuer(*keys: SigningKey) -> AsyncIterator[IssuerServer]:
    """Serve an issuer on this machine.

    Args:
        keys: Those it publishes; `signing_key()` by default.
    """
    served = IssuerServer()
    if keys:
        served.keys = list(keys)
    app = web.Application()
    app.router.add_get("/keys", served.publish)
    app.router.add_post("/introspect", served.introspect)
    async with TestServer(app) as server:
        served.url = str(server.make_url("")).rstrip("/")
        yield served


# What an issuer may do instead of answering.


async def away(request: web.Request) -> web.StreamResponse:
    """Close the connection, as a process that is gone does."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def slow(request: web.Request) -> web.StreamResponse:
    """Never answer; aiohttp cancels it when the other side leaves."""
    await asyncio.Event().wait()
    raise AssertionError(request)


async def slow_body(request: web.Request) -> web.StreamResponse:
    """Begin an answer that never ends."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b'{"active": ')
    return await slow(request)


async def html(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"<html>{request.path}</html>", content_type="text/html")


async def failing(request: web.Request) -> web.StreamResponse:
    return web.json_response({"active": True, "sub": request.path, "keys": []}, status=500)


async def listing(request: web.Request) -> web.StreamResponse:
    return web.json_response([request.path])


async def broken_json(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"active": true, "sub": "\xff', content_type=request.content_type)


async def deep_json(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"keys": ' + b"[" * 100_000, content_type=request.content_type)


async def huge(request: web.Request) -> web.StreamResponse:
    """Answer the truth in a megabyte."""
    return web.json_response({"active": True, "sub": request.path, "keys": [], "more": "x" * 1024 * 1024})


async def redirecting(request: web.Request) -> web.StreamResponse:
    """Send whoever asks back to the same place: were it followed, it would be asked twice."""
    raise web.HTTPTemporaryRedirect(request.path)


WRONG: list[Answer] = [html, failing, listing, broken_json, deep_json, huge, redirecting]
SILENT: list[Answer] = [slow, slow_body]
TROUBLE: list[Answer] = [away, *WRONG, *SILENT]


@contextmanager
def trouble(served: IssuerServer, answer: Answer) -> Iterator[None]:
    """Let an issuer misbehave for a while; if it is silent, nobody waits for it long."""
    served.misbehave = answer
    with patch.object(asking, "_TOTAL_TIMEOUT", 0.1 if answer in SILENT else asking._TOTAL_TIMEOUT):
        yield
    served.misbehave = None
