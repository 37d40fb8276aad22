"""API keys."""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from dockrion.auth.authenticator import invalid_credentials
from dockrion.auth.roles import Roles
from dockrion.caller import Caller


class ApiKeys:
    """Knows callers by their keys.

    Args:
        keys: (name, key) of each; several keys may have one name.
        roles: The Dockfile's roles; a key has the role of its name, where there is one.

    Raises:
        ValueError: A key has several names.
    """

    def __init__(self, keys: Iterable[tuple[str, str]], roles: Roles) -> None:
        owners: dict[bytes, Caller] = {}
        for name, key in keys:
            caller = _caller(name, roles)
            if (other := owners.setdefault(_digest(key), caller)) != caller:
                raise ValueError(f"{other.user_id} and {name} have the same key")
        self._owners = list(owners.items())

    async def authenticate(self, credential: str) -> Caller:
        """Return whose key this is; see `Authenticator`.

        Every key is compared, in constant time, so that the time tells neither which nor how much of
        it was right.
        """
        digest, found = _digest(credential), None
        for known, caller in self._owners:
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise invalid_credentials()
        return found

    async def aclose(self) -> None:
        """Return: there is nothing to release."""


def _caller(name: str, roles: Roles) -> Caller:
    its_roles = (name,) if name in roles else ()
    return Caller(user_id=name, name=name, roles=its_roles, permissions=roles.permissions(its_roles))


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
