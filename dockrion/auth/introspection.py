"""Opaque tokens, which their issuer explains (RFC 7662, OAuth 2.0 Token Introspection)."""

import asyncio
import re
import time
from hashlib import sha256

from dockrion.auth.authenticator import MOST_CHARACTERS, invalid_credentials
from dockrion.auth.claims import caller_of
from dockrion.auth.issuer import Issuer
from dockrion.auth.roles import Roles
from dockrion.auth.ttl_cache import Expiring
from dockrion.caller import Caller
from dockrion.dockfile.safety_structs import ClaimsSpec, OAuth2Spec
from dockrion.errors import Forbidden, Unauthorized

_GOOD_SECONDS, _BAD_SECONDS = 30.0, 5.0
_MOST_REMEMBERED = 10_000
_TOKEN = re.compile(rf"[!-~]{{1,{MOST_CHARACTERS}}}")


class Introspection:
    """Knows callers by tokens that it asks the issuer about.

    Args:
        spec: Whom to ask, and which scopes a token must have.
        client: The service's own id and secret at the issuer, or None.
        claims: Where the answer says what.
        roles: The Dockfile's roles.
    """

    def __init__(
        self, spec: OAuth2Spec, client: tuple[str, str] | None, claims: ClaimsSpec, roles: Roles
    ) -> None:
        self._issuer = Issuer(spec.introspection_url or "", client)
        self._required = frozenset(spec.required_scopes)
        self._claims = claims
        self._roles = roles
        # Apart, so that no flood of bad tokens drives out the good ones.
        self._good = Expiring[Caller](_GOOD_SECONDS, _MOST_REMEMBERED)
        self._bad = Expiring[bool](_BAD_SECONDS, _MOST_REMEMBERED)
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def authenticate(self, credential: str) -> Caller:
        """Return whom a token speaks of; see `Authenticator`."""
        if not _TOKEN.fullmatch(credential):
            raise invalid_credentials()
        digest = sha256(credential.encode()).digest()
        if self._bad.get(digest):
            raise invalid_credentials()
        caller = self._good.get(digest)
        if caller is None:
            # Others ask for the same, too, so it goes on when this caller leaves.
            caller = await asyncio.shield(self._asking.get(digest) or self._begin(digest, credential))
        if caller is None or (caller.expires_at is not None and caller.expires_at <= time.time()):
            raise invalid_credentials()
        if not self._required.issubset(caller.scopes):
            raise Forbidden(f"the token needs the scopes {', '.join(sorted(self._required))}")
        return caller

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        if self._asking:
            for task in self._asking.values():
                task.cancel()
            await asyncio.wait(self._asking.values())
        await self._issuer.aclose()

    def _begin(self, digest: bytes, token: str) -> asyncio.Task[Caller | None]:
        def done(task: asyncio.Task[Caller | None]) -> None:
            del self._asking[digest]
            if not task.cancelled():
                task.exception()  # seen, if everybody who waited for it has left

        task = self._asking[digest] = asyncio.create_task(
            self._ask(digest, token), name="dockrion-introspection"
        )
        task.add_done_callback(done)
        return task

    async def _ask(self, digest: bytes, token: str) -> Caller | None:
        told = await self._issuer.ask({"token": token, "token_type_hint": "access_token"})
        try:
            if told.get("active") is not True:
                raise invalid_credentials()
            caller = caller_of(told, self._claims, self._roles)
        except Unauthorized:
            self._bad.put(digest, True)
            return None
        self._good.put(digest, caller)
        return caller
