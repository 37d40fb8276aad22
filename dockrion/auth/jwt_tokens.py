"""JSON Web Tokens (RFC 7519)."""

from collections.abc import Iterable
from typing import Any

import jwt

from dockrion.auth.authenticator import MOST_CHARACTERS, invalid_credentials
from dockrion.auth.claims import caller_of
from dockrion.auth.jwks import KeySet
from dockrion.auth.jwt_keys import given_key
from dockrion.auth.roles import Roles
from dockrion.caller import Caller
from dockrion.dockfile.safety_structs import JwtSpec


class JsonWebTokens:
    """Knows callers by tokens that an issuer has signed.

    Args:
        spec: Which tokens are good.
        key: The issuer's key, where there is no `spec.jwks_url`.
        roles: The Dockfile's roles.

    Raises:
        ValueError: The key is none for these algorithms.
    """

    def __init__(self, spec: JwtSpec, key: str | None, roles: Roles) -> None:
        self._spec = spec
        self._roles = roles
        self._key_set = None if spec.jwks_url is None else KeySet(spec.jwks_url)
        self._keys: dict[str, Any] = (
            {} if key is None else {name: given_key(name, key) for name in spec.algorithms}
        )

    async def authenticate(self, credential: str) -> Caller:
        """Return whom a token speaks of; see `Authenticator`."""
        if len(credential) > MOST_CHARACTERS:
            raise invalid_credentials()
        key_id, algorithm = self._named(credential)
        for key in await self._candidates(key_id, algorithm):
            claims = self._verified(credential, key, algorithm)
            if claims is not None:
                leeway = self._spec.leeway_seconds
                return caller_of(claims, self._spec.claims, self._roles, leeway=leeway)
        raise invalid_credentials()

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        if self._key_set is not None:
            await self._key_set.aclose()

    def _named(self, token: str) -> tuple[str | None, str]:
        """Return the key and the algorithm that a token names."""
        try:
            header = jwt.get_unverified_header(token)
        except Exception:  # nobody knows what a stranger's token does to its parser
            raise invalid_credentials() from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # No extension is understood here, so none may be critical (RFC 7515, 4.1.11).
        sound = "crit" not in header and (key_id is None or isinstance(key_id, str))
        if not sound or algorithm not in self._spec.algorithms:
            raise invalid_credentials()
        return key_id, algorithm

    async def _candidates(self, key_id: str | None, algorithm: str) -> Iterable[Any]:
        if self._key_set is None:
            return [self._keys[algorithm]]
        return [each.key for each in await self._key_set.find(key_id, algorithm)]

    def _verified(self, token: str, key: Any, algorithm: str) -> dict[str, Any] | None:
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
        except Exception:  # as above
            return None
        return claims
