"""Callers authenticated by API keys."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from dockrion.auth.authenticator import Roles, invalid_credentials
from dockrion.caller import Caller
from dockrion.dockfile.credentials import DEFAULT_CALLER

_DEFAULT_PERMISSIONS = ("invoke", "view_metrics", "read_docs")  # of the default caller, without a role


class ApiKeyAuthenticator:
    """Authenticates callers by API keys from the environment.

    Args:
        keys: Pairs of owner name and key; an owner may have several keys.
        roles: The Dockfile's roles; a key has the role named like its owner, if there is one. Without one
            the default caller may invoke the agent, view metrics and read the documentation.

    Raises:
        ValueError: Two owners have the same key.
    """

    def __init__(self, keys: Iterable[tuple[str, str]], roles: Roles) -> None:
        self.issuer = None  # nobody is asked
        callers: dict[bytes, Caller] = {}
        for name, key in keys:
            caller = _caller(name, roles)
            if (other := callers.setdefault(_digest(key), caller)) != caller:
                raise ValueError(f"{other.user_id} and {name} have the same key")
        self._callers = list(callers.items())

    @property
    def permissions(self) -> frozenset[str]:
        """What the callers may do, all together."""
        return frozenset[str]().union(*(caller.permissions for _, caller in self._callers))

    async def authenticate(self, credential: str) -> Caller:
        """Return the owner of a key; see `Authenticator`.

        Compares with every key in constant time, so that the duration reveals nothing about them.
        """
        digest, match = _digest(credential), None
        for key_digest, caller in self._callers:
            if hmac.compare_digest(key_digest, digest):
                match = caller
        if match is None:
            raise invalid_credentials()
        return match

    async def aclose(self) -> None:
        """Do nothing: there are no connections to release."""


def _caller(name: str, roles: Roles) -> Caller:
    own_roles = (name,) if name in roles else ()
    granted = _DEFAULT_PERMISSIONS if name == DEFAULT_CALLER and not own_roles else ()
    return Caller(user_id=name, name=name, roles=own_roles, permissions=roles.permissions(own_roles, granted))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
