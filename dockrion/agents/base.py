"""What the service knows of an agent."""

from typing import Any, Protocol

from dockrion.context import StreamContext


class Agent(Protocol):
    """Does the work of a run."""

    async def run(self, payload: Any, context: StreamContext, *, streaming: bool) -> Any:
        """Work on a payload until there is an output.

        When the task that awaits this is cancelled, the work is to stop, and this returns
        or raises only when it did.

        Args:
            payload: The request's body.
            context: Where events go; it is also the current context.
            streaming: Whether anybody can see events.

        Returns:
            The output: any value.

        Raises:
            BaseException: Whatever the agent raises.
        """
