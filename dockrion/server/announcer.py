"""What a process tells the person who started it, beside its log."""

from collections.abc import Sequence

from dockrion.server.sockets import Address


class Announcer:
    """Says nothing: the log says it all."""

    def listening(self, address: Address, port: int) -> None:
        """Say where the service is.

        Args:
            address: What it listens on.
            port: The actual port, 0 for a unix socket.
        """

    def ready(self) -> None:
        """Say that the agent can work."""

    def reloading(self, files: Sequence[str]) -> None:
        """Say that the service is restarted.

        Args:
            files: The names of the files that have changed.
        """

    def ended(self) -> None:
        """Say that nothing is left."""

    def draining(self, run_ids: Sequence[str], grace: float) -> None:
        """Say that the service ends, and what it waits for.

        Args:
            run_ids: The runs and invocations at work.
            grace: How long they may go on, in seconds.
        """
