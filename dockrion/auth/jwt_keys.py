"""Keys that verify JWT signatures: configured ones, and those an issuer publishes (JWKS, RFC 7517)."""

import asyncio
import math
import time
from contextlib import suppress
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from dockrion.auth.issuer import IssuerClient
from dockrion.errors import ServiceUnavailable

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_ASYMMETRIC = ("RS256", "RS384", "RS512", *_CURVES)
_MAX_KEYS = 64
_FRESH_SECONDS = 600.0
_MIN_FETCH_INTERVAL = 10.0  # seconds; tokens that name unknown keys must not cause more requests


class PublicKey(msgspec.Struct, frozen=True):
    """A published key.

    Attributes:
        key_id: Its `kid`, or None.
        algorithm: The one algorithm that it verifies.
        key: The key itself.
    """

    key_id: str | None
    algorithm: str
    key: Any


class JwksClient:
    """Fetches an issuer's keys on demand; keeps the last good ones while the issuer is unavailable.

    Args:
        url: The issuer's JWKS URL.
    """

    def __init__(self, url: str) -> None:
        self._issuer = IssuerClient(url)
        self.issuer = self._issuer.dependency
        self._keys: list[PublicKey] = []
        self._attempted_at = self._fetched_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[PublicKey]:
        """Return the keys that may verify a token.

        Args:
            key_id: The token's `kid`, or None.
            algorithm: The token's `alg`.

        Raises:
            ServiceUnavailable: No key has been fetched yet, and the issuer cannot be reached.
        """
        matching = self._matching(key_id, algorithm)
        if matching and time.monotonic() < self._fetched_at + _FRESH_SECONDS:
            return matching
        fetching = self._fetch_if_due()
        if not matching:
            # Shielded: other callers may await the same fetch, so it survives this one's cancellation.
            await asyncio.shield(fetching)
            matching = self._matching(key_id, algorithm)
        if not self._keys:
            raise ServiceUnavailable("the token issuer's keys are not available; try again later")
        return matching

    async def aclose(self) -> None:
        """Cancel a pending fetch and close the connections to the issuer."""
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
        """Return the pending fetch, the last one if that was recent, or else a new one."""
        now = time.monotonic()
        if self._fetching is None or (
            self._fetching.done() and now >= self._attempted_at + _MIN_FETCH_INTERVAL
        ):
            self._attempted_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="dockrion-issuer-keys")
        return self._fetching

    async def _fetch(self) -> None:
        with suppress(ServiceUnavailable):  # logged by the issuer client; the last good keys stay in use
            response = await self._issuer.fetch()
            if keys := parse_jwks(response.get("keys")):
                self._keys = keys
                self._fetched_at = time.monotonic()


def parse_jwks(entries: object) -> list[PublicKey]:
    """Return the keys of a JSON Web Key Set that can verify; others are ignored (RFC 7517, 5).

    Args:
        entries: The set's `keys`, not validated.
    """
    candidates = entries[:_MAX_KEYS] if isinstance(entries, list) else []
    return [
        PublicKey(entry.get("kid"), algorithm, key)
        for entry in candidates
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig"
        for algorithm in _ASYMMETRIC  # a symmetric key that is published is not a secret
        if entry.get("alg", algorithm) == algorithm and (key := _parse_jwk(entry, algorithm)) is not None
    ]


def load_key(algorithm: str, text: str) -> Any:
    """Return the key in a configured text.

    Args:
        algorithm: The algorithm it has to verify.
        text: For HS algorithms the secret; for others a public key in PEM, whose newlines may be
            written as backslash and n.

    Raises:
        ValueError: The text is not a key for the algorithm; the message says what is expected.
    """
    is_pem = "-----BEGIN " in text
    if is_pem:
        text = text.replace("\\n", "\n")
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(text)
    except Exception:  # parsers raise anything
        key = None
    # A public key (even a truncated one) as the HMAC secret would let anybody sign tokens.
    if not _is_suitable(algorithm, key) or (is_pem and isinstance(key, bytes)):
        raise ValueError(f"no key for {algorithm}: expected {_expected(algorithm)}")
    return key


def _parse_jwk(entry: dict[str, Any], algorithm: str) -> Any:
    try:
        key = jwt.PyJWK(entry, algorithm=algorithm).key
    except Exception:  # parsers raise anything
        return None
    return key if _is_suitable(algorithm, key) else None


def _expected(algorithm: str) -> str:
    if algorithm.startswith("HS"):
        return f"a secret of at least {int(algorithm[2:]) // 8} bytes that is not a public key"
    if algorithm in _CURVES:
        return f"a public key in PEM, on the curve {_CURVES[algorithm]}"
    return "an RSA public key in PEM, of at least 2048 bits"


def _is_suitable(algorithm: str, key: Any) -> bool:
    """Tell whether a key is of the algorithm's type, and long enough (RFC 7518, 3.2 to 3.4)."""
    if isinstance(key, EllipticCurvePublicKey):
        return key.curve.name == _CURVES.get(algorithm)
    family = "RS" if isinstance(key, RSAPublicKey) else "HS" if isinstance(key, bytes) else None
    if family != algorithm[:2]:
        return False
    return jwt.get_algorithm_by_name(algorithm).check_key_length(key) is None
