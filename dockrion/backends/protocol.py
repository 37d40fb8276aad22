"""A backend: what stores runs, reaches their owners, and holds what replicas share.

A new backend passes the conformance suite in `tests/backends/`, or it is not one.
"""

from typing import Protocol

from dockrion.backends.owner_messages import OwnerMessages
from dockrion.backends.run_log import RunLog
from dockrion.backends.shared_state import SharedState


class Backend(RunLog, OwnerMessages, SharedState, Protocol):
    """Everything that a service needs of its storage.

    A method that cannot reach its storage raises `ServiceUnavailable`, and may be called again
    with the same arguments: what was done already is not done twice.
    """

    async def ping(self) -> None:
        """Return if the storage answers.

        Raises:
            ServiceUnavailable: It does not.
        """

    async def aclose(self) -> None:
        """Release everything. Nothing may be called afterwards."""
