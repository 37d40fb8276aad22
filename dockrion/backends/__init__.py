"""Where runs and their events are stored: the protocols, and reading a run's log over any of them.

A `Backend` is three protocols: `run_log` (runs and their events), `owner_messages` (requests to the
replica that executes a run) and `shared_state` (counters and a secret that all replicas share). It may
have an `outbox` (copies of events that are delivered to other services) and, if it has several replicas, a
`work_queue` (runs that wait for a free slot of any of them).
Consumers take the narrowest one they need, and read events with `follow`. `memory` and `redis` are
the implementations; a new one has to pass the conformance suite in `tests/backends`. Imports `events`
and `logs`.
"""

from typing import Protocol

from dockrion.backends.outbox import Outbox
from dockrion.backends.owner_messages import OwnerMessages
from dockrion.backends.run_log import RunLog
from dockrion.backends.shared_state import SharedState
from dockrion.backends.work_queue import WorkQueue
from dockrion.dependency import Dependency


class Backend(RunLog, OwnerMessages, SharedState, Protocol):
    """Everything that a service needs of its storage.

    Every method may raise `ServiceUnavailable` while the storage cannot be reached. Unless its
    docstring says otherwise it can then be called again with the same arguments: what the first
    call did is not done twice.
    """

    @property
    def outbox(self) -> Outbox | None:
        """The copies of events for other services, None unless it was made with an outbox."""

    @property
    def queue(self) -> WorkQueue | None:
        """The runs that wait for a replica; None if this process is the only one, and keeps its own queue."""

    @property
    def dependency(self) -> Dependency:
        """The state of the storage, as this process has last seen it."""

    async def check_start(self) -> None:
        """Return if this process may use what is stored, as far as that can be found out soon.

        Raises:
            StartError: It may not.
        """

    async def ping(self) -> None:
        """Return if the storage responds.

        Raises:
            ServiceUnavailable: It does not.
        """

    async def aclose(self) -> None:
        """Release all resources. No method may be called afterwards."""
