"""What the service knows of a way to prove who one is."""

from typing import Protocol

from dockrion.caller import Caller
from dockrion.errors import Unauthorized

MOST_CHARACTERS = 16 * 1024  # of a token; a longer one is not looked at


class Authenticator(Protocol):
    """Tells who a caller is."""

    async def authenticate(self, credential: str) -> Caller:
        """Return who sent a credential.

        Args:
            credential: An API key or a token, as it was sent.

        Raises:
            Unauthorized: It proves nothing.
            Forbidden: It is good, but not for this service.
            ServiceUnavailable: Whoever has to be asked does not answer.
        """

    async def aclose(self) -> None:
        """Release everything."""


def invalid_credentials() -> Unauthorized:
    """Return the same words for every reason: a caller who guesses is to learn nothing."""
    return Unauthorized("the credentials are missing, wrong or expired")
