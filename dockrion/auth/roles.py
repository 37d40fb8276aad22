"""What callers may do."""

from collections.abc import Iterable, Sequence
from typing import get_args

from dockrion.dockfile.safety_structs import Permission, RoleSpec

# Others' runs are nobody's to read unless a role says so.
EVERYTHING: frozenset[str] = frozenset(get_args(Permission)) - {"read_logs"}
_NOTHING: frozenset[str] = frozenset()


class Roles:
    """What callers may do, by their roles.

    Args:
        specs: The Dockfile's roles. Without any, whoever is let in may do everything, save read others' runs.
    """

    def __init__(self, specs: Sequence[RoleSpec]) -> None:
        self._permissions = {spec.name: frozenset[str](spec.permissions) for spec in specs}

    def __contains__(self, name: str) -> bool:
        return name in self._permissions

    def permissions(self, roles: Iterable[str], own: Iterable[str] = ()) -> frozenset[str]:
        """Return what somebody may do.

        Args:
            roles: Their roles; those that the Dockfile does not name permit nothing.
            own: What their token permits by itself.
        """
        if not self._permissions:
            return EVERYTHING
        return frozenset(own).union(*(self._permissions.get(role, _NOTHING) for role in roles))
