"""Callers authenticated by JSON Web Tokens (RFC 7519)."""

from collections.abc import Iterable
from typing import Any

import jwt

from dockrion.auth.authenticator import MAX_TOKEN_CHARACTERS, Roles, invalid_credentials
from dockrion.auth.claims import caller_from_claims
from dockrion.auth.jwt_keys import JwksClient, load_key
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import JwtSpec


class JwtAuthenticator:
    """Authenticates callers by tokens that an issuer has signed.

    Args:
        spec: Which tokens are accepted.
        key: The issuer's key, if there is no `spec.jwks_url`.
        roles: The Dockfile's roles.

    Raises:
        ValueError: The key is not suitable for one of the algorithms.
    """

    def __init__(self, spec: JwtSpec, key: str | None, roles: Roles) -> None:
        self._spec = spec
        self._roles = roles
        self._jwks = None if spec.jwks_url is None else JwksClient(spec.jwks_url)
        self.issuer = None if self._jwks is None else self._jwks.issuer
        self._keys: dict[str, Any] = (
            {} if key is None else {name: load_key(name, key) for name in spec.algorithms}
        )

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller a token belongs to; see `Authenticator`."""
        if len(credential) > MAX_TOKEN_CHARACTERS:
            raise invalid_credentials()
        key_id, algorithm = self._read_header(credential)
        for key in await self._candidates(key_id, algorithm):
            claims = self._verify(credential, key, algorithm)
            if claims is not None:
                leeway = self._spec.leeway_seconds
                return caller_from_claims(claims, self._spec.claims, self._roles, leeway=leeway)
        raise invalid_credentials()

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        if self._jwks is not None:
            await self._jwks.aclose()

    def _read_header(self, token: str) -> tuple[str | None, str]:
        """Return the key id and the algorithm that a token names."""
        try:
            header = jwt.get_unverified_header(token)
        except Exception:  # untrusted input may raise anything in the parser
            raise invalid_credentials() from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # No extension is supported, so none may be critical (RFC 7515, 4.1.11).
        valid = "crit" not in header and (key_id is None or isinstance(key_id, str))
        if not valid or algorithm not in self._spec.algorithms:
            raise invalid_credentials()
        return key_id, algorithm

    async def _candidates(self, key_id: str | None, algorithm: str) -> Iterable[Any]:
        if self._jwks is None:
            return [self._keys[algorithm]]
        return [candidate.key for candidate in await self._jwks.find(key_id, algorithm)]

    def _verify(self, token: str, key: Any, algorithm: str) -> dict[str, Any] | None:
        spec = self._spec
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=spec.audience,
                issuer=spec.issuer,
                leeway=spec.leeway_seconds,
                options={"require": ["exp"], "verify_aud": spec.audience is not None},
            )
        except Exception:  # untrusted input may raise anything in the parser
            return None
        return claims
