"""What all kinds of authentication share: the protocol, the one refusal, the limit, the roles."""

from collections.abc import Iterable, Sequence
from typing import Protocol, get_args

from dockrion.caller import Caller
from dockrion.dependency import Dependency
from dockrion.dockfile.auth_structs import Permission, RoleSpec
from dockrion.errors import Unauthorized

MAX_TOKEN_CHARACTERS = 16 * 1024  # a longer token is refused before it is parsed

# Without roles in the Dockfile; what is about other callers' runs must be granted explicitly.
ALL_PERMISSIONS: frozenset[str] = frozenset(get_args(Permission)) - {"read_logs", "respond"}
_NO_PERMISSIONS: frozenset[str] = frozenset()


class Authenticator(Protocol):
    """Maps credentials to callers."""

    @property
    def issuer(self) -> Dependency | None:
        """The state of the token issuer, None if none is asked."""

    async def authenticate(self, credential: str) -> Caller:
        """Return the caller a credential belongs to.

        Args:
            credential: An API key or a token, as received.

        Raises:
            Unauthorized: The credential is not valid.
            Forbidden: It is valid, but does not grant access to this service.
            ServiceUnavailable: The token issuer cannot be reached.
        """

    async def aclose(self) -> None:
        """Release all connections."""


def invalid_credentials() -> Unauthorized:
    """Return the same error for every reason, so that it tells an attacker nothing."""
    return Unauthorized("the credentials are missing, wrong or expired")


class Roles:
    """The permissions of the Dockfile's roles.

    Args:
        specs: The roles. If there are none, every authenticated caller has `ALL_PERMISSIONS`.
    """

    def __init__(self, specs: Sequence[RoleSpec]) -> None:
        self._permissions = {spec.name: frozenset[str](spec.permissions) for spec in specs}

    def __contains__(self, name: str) -> bool:
        return name in self._permissions

    def permissions(self, roles: Iterable[str], granted: Iterable[str] = ()) -> frozenset[str]:
        """Return a caller's permissions.

        Args:
            roles: The caller's roles; those the Dockfile does not define grant nothing.
            granted: Permissions that the caller's token grants directly.
        """
        if not self._permissions:
            return ALL_PERMISSIONS
        return frozenset(granted).union(*(self._permissions.get(role, _NO_PERMISSIONS) for role in roles))
