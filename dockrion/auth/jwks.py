"""The keys of an issuer (RFC 7517, JSON Web Key Sets)."""

import asyncio
import math
import time
from contextlib import suppress

from dockrion.auth.issuer import Issuer
from dockrion.auth.jwt_keys import PublicKey, published_keys
from dockrion.errors import ServiceUnavailable

_FRESH_SECONDS = 600.0
_PAUSE_SECONDS = 10.0  # between two requests, whatever keys tokens name


class KeySet:
    """Fetches the issuer's keys when they are wanted, and keeps the last good ones while it is away.

    Args:
        url: Where they are.
    """

    def __init__(self, url: str) -> None:
        self._issuer = Issuer(url)
        self._keys: list[PublicKey] = []
        self._asked_at = self._fetched_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[PublicKey]:
        """Return the keys that may have signed a token.

        Args:
            key_id: The key it names, or None.
            algorithm: What it is signed with.

        Raises:
            ServiceUnavailable: There are no keys yet, and the issuer does not answer.
        """
        found = self._matching(key_id, algorithm)
        if found and time.monotonic() < self._fetched_at + _FRESH_SECONDS:
            return found
        fetching = self._fetch_if_due()
        if not found:
            # Others wait for it, too, so it goes on when this caller leaves.
            await asyncio.shield(fetching)
            found = self._matching(key_id, algorithm)
        if not self._keys:
            raise ServiceUnavailable("the issuer's keys cannot be had at present; try again later")
        return found

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait((self._fetching,))
        await self._issuer.aclose()

    def _matching(self, key_id: str | None, algorithm: str) -> list[PublicKey]:
        return [
            key
            for key in self._keys
            if key.algorithm == algorithm and (key_id is None or key.key_id == key_id)
        ]

    def _fetch_if_due(self) -> asyncio.Task[None]:
        """Return the fetch that is on its way, or the last one if that was a moment ago."""
        now = time.monotonic()
        if self._fetching is None or (self._fetching.done() and now >= self._asked_at + _PAUSE_SECONDS):
            self._asked_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="dockrion-issuer-keys")
        return self._fetching

    async def _fetch(self) -> None:
        with suppress(ServiceUnavailable):  # which is logged; the last good keys stay
            answer = await self._issuer.ask()
            if keys := published_keys(answer.get("keys")):
                self._keys = keys
                self._fetched_at = time.monotonic()
