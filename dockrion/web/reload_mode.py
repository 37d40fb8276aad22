"""What a service does differently because it is restarted at each change of its files."""

from pathlib import Path

import msgspec

from dockrion.errors import StartError


class ReloadMode(msgspec.Struct, frozen=True):
    """A service that its author is changing: it serves on when its agent cannot be loaded, and says why.

    Attributes:
        instance: Tells open pages that the service was restarted.
        directory: Where the agent's code is.
        refused: Why there is no agent to load, None if there is one.
    """

    instance: str
    directory: Path
    refused: StartError | None

    def reason(self, error: StartError) -> str:
        """Return what the page shows; the paths of the agent's code are relative, as no others are shown."""
        return str(error).replace(f"{self.directory.resolve()}/", "")
