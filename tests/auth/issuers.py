"""A fake token issuer: its keys, the tokens it signs, and its JWKS and introspection endpoints."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any
from urllib.parse import unquote_plus

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dockrion.auth import issuer as issuer_module
from tests.loop_clock import advance

ISSUER, AUDIENCE = "https://issuer.test", "dockrion"
_CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@cache
def _private(kind: str, key_id: str, bits: int) -> Any:  # noqa: ARG001  other ids have other keys
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(_CURVES[kind])


class SigningKey:
    """A key of an issuer; `signing_key` makes one for each algorithm and id."""

    def __init__(self, algorithm: str, key_id: str, *, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.private = _private("RSA" if algorithm.startswith("RS") else algorithm, key_id, bits)

    @cached_property
    def pem(self) -> str:
        """The public key in the format of `auth.jwt.public_key_env`."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return str(self.private.public_key().public_bytes(serialization.Encoding.PEM, kind).decode())

    @cached_property
    def published(self) -> dict[str, Any]:
        """The public key as an entry of a key set."""
        described = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return dict(described) | {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}


@cache
def signing_key(algorithm: str = "RS256", key_id: str = "first") -> SigningKey:
    return SigningKey(algorithm, key_id)


def issue_token(
    *, signed_by: SigningKey | str | None = None, headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """Return a signed token that is valid for five minutes, unless the claims differ.

    Args:
        signed_by: The key, or a secret for HS256; `signing_key()` by default.
        headers: Header parameters that differ from the usual ones; None removes one.
        claims: Claims that differ from the usual ones; None removes one.
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
    """Publishes keys at `jwks_url`, and answers introspection requests at `introspection_url`.

    Attributes:
        keys: The keys it publishes.
        tokens: The response for each token; other tokens are not active.
        client: The id and the secret that introspection requires.
        handler: Handles all requests, if set.
        requests: The number of requests so far.
    """

    keys: list[SigningKey] = field(default_factory=lambda: [signing_key()])
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    client: tuple[str, str] | None = None
    handler: Handler | None = None
    requests: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/keys"

    @property
    def introspection_url(self) -> str:
        return f"{self.url}/introspect"

    def activate(self, token: str, **claims: Any) -> str:
        """Make a token active, and return it; a claim that is None is removed."""
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
        self.requests += 1
        self.headers.append(dict(request.headers))
        return None if self.handler is None else await self.handler(request)


def _client(request: web.Request) -> tuple[str, ...]:
    """Return the client's credentials (RFC 6749, 2.3.1)."""
    value = request.headers.get("Authorization", "").removeprefix("Basic ")
    return tuple(unquote_plus(part) for part in b64decode(value).decode().split(":"))


@asynccontextmanager
async def issuer(*keys: SigningKey) -> AsyncIterator[IssuerServer]:
    """Run an issuer on this machine.

    Args:
        keys: The keys it publishes; `signing_key()` by default.
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


# Ways in which an issuer fails.


async def crashing(request: web.Request) -> web.StreamResponse:
    """Abort the connection, as a process that crashes does."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def slow(request: web.Request) -> web.StreamResponse:
    """Never respond; aiohttp cancels the handler when the client disconnects."""
    await asyncio.Event().wait()
    raise AssertionError(request)


async def silent(request: web.Request) -> web.StreamResponse:
    """Never respond, and let the time be over for which anybody waits."""
    await advance(issuer_module._TOTAL_TIMEOUT)
    return await slow(request)


async def silent_body(request: web.Request) -> web.StreamResponse:
    """Start a response that never ends."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b'{"active": ')
    return await silent(request)


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
    """Handler correctly, but with a megabyte."""
    return web.json_response({"active": True, "sub": request.path, "keys": [], "more": "x" * 1024 * 1024})


async def redirecting(request: web.Request) -> web.StreamResponse:
    """Redirect to the same URL: if it were followed, there would be a second request."""
    raise web.HTTPTemporaryRedirect(request.path)


MALFORMED: list[Handler] = [html, failing, listing, broken_json, deep_json, huge, redirecting]
FAILURES: list[Handler] = [crashing, *MALFORMED, silent, silent_body]


@contextmanager
def failing_with(served: IssuerServer, answer: Handler) -> Iterator[None]:
    """Let an issuer fail."""
    served.handler = answer
    yield
    served.handler = None
