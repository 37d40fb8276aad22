"""What the sender of invalid credentials can observe."""

import pytest

from dockrion.auth.authenticator import Authenticator
from dockrion.errors import Unauthorized

Seen = tuple[int, str, str, str]


async def refusal(authenticator: Authenticator, credential: str) -> Seen:
    """Check that a credential is refused, and return everything that its sender can observe."""
    with pytest.raises(Unauthorized) as caught:
        await authenticator.authenticate(credential)
    error = caught.value
    assert error.details is None
    return error.status, error.code, error.message, repr(error.headers)
