"""Callers authenticated by opaque tokens that their issuer resolves (RFC 7662, Token Introspection)."""

import asyncio
import re
import time
from collections import OrderedDict
from hashlib import sha256
from typing import Generic, TypeVar

from dockrion.auth.authenticator import MAX_TOKEN_CHARACTERS, Roles, invalid_credentials
from dockrion.auth.claims import caller_from_claims
from dockrion.auth.issuer import IssuerClient
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec, OAuth2Spec
from dockrion.errors import Forbidden, Unauthorized

_ACTIVE_TTL, _INACTIVE_TTL = 30.0, 5.0
_MAX_CACHED = 10_000
_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_CHARACTERS}}}")

T = TypeVar("T")


class TTLCache(Generic[T]):
    """Caches values for a limited time; when it is full, the oldest are evicted.

    Args:
        ttl: How long a value is valid, in seconds.
        max_size: The largest number of values.
    """

    def __init__(self, ttl: float, max_size: int) -> None:
        self._ttl = ttl
        self._max_size = max_size
        self._entries: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> T | None:
        """Return the value of a key, or None if there is none that is still valid."""
        if (entry := self._entries.get(key)) is None:
            return None
        expires_at, value = entry
        return value if time.monotonic() < expires_at else None

    def put(self, key: bytes, value: T) -> None:
        """Store the value of a key; its time to live starts now."""
        now = time.monotonic()
        self._entries.pop(key, None)
        self._entries[key] = now + self._ttl, value
        while len(self._entries) > self._max_size or next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)


class IntrospectionAuthenticator:
    """Authenticates callers by an introspection request for each token, with a cache.

    Args:
        spec: The introspection endpoint, and the scopes that a token must have.
        client: The service's own id and secret at the issuer, or None.
        claims: Which member of the response holds which property of the caller.
        roles: The Dockfile's roles.
    """

    def __init__(
        self, spec: OAuth2Spec, client: tuple[str, str] | None, claims: ClaimsSpec, roles: Roles
    ) -> None:
        self._issuer = IssuerClient(spec.introspection_url or "", client)
        self.issuer = self._issuer.dependency
        self._required = frozenset(spec.required_scopes)
        self._claims = claims
        self._roles = roles
        # Two caches, so that a flood of invalid tokens cannot evict the valid ones.
        self._active = TTLCache[Caller](_ACTIVE_TTL, _MAX_CACHED)
        self._inactive = TTLCache[bool](_INACTIVE_TTL, _MAX_CACHED)
        self._requests: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller a token belongs to; see `Authenticator`."""
        if not _TOKEN.fullmatch(credential):
            raise invalid_credentials()
        digest = sha256(credential.encode()).digest()
        if self._inactive.get(digest):
            raise invalid_credentials()
        caller = self._active.get(digest)
        if caller is None:
            # Shielded: other callers may await the same request, so it survives this one's cancellation.
            caller = await asyncio.shield(self._requests.get(digest) or self._start(digest, credential))
        if caller is None or (caller.expires_at is not None and caller.expires_at <= time.time()):
            raise invalid_credentials()
        if not self._required.issubset(caller.scopes):
            raise Forbidden(f"the token needs the scopes {', '.join(sorted(self._required))}")
        return caller

    async def aclose(self) -> None:
        """Cancel pending requests and close the connections to the issuer."""
        if self._requests:
            for task in self._requests.values():
                task.cancel()
            await asyncio.wait(self._requests.values())
        await self._issuer.aclose()

    def _start(self, digest: bytes, token: str) -> asyncio.Task[Caller | None]:
        def done(task: asyncio.Task[Caller | None]) -> None:
            del self._requests[digest]
            if not task.cancelled():
                task.exception()  # retrieved, in case every waiter was cancelled

        task = self._requests[digest] = asyncio.create_task(
            self._introspect(digest, token), name="dockrion-introspection"
        )
        task.add_done_callback(done)
        return task

    async def _introspect(self, digest: bytes, token: str) -> Caller | None:
        response = await self._issuer.fetch({"token": token, "token_type_hint": "access_token"})
        try:
            if response.get("active") is not True:
                raise invalid_credentials()
            caller = caller_from_claims(response, self._claims, self._roles)
        except Unauthorized:
            self._inactive.put(digest, True)
            return None
        self._active.put(digest, caller)
        return caller
