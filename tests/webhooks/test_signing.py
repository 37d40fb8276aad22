"""Signatures are those of Standard Webhooks."""

import base64
import os
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from dockrion.webhooks.signing import Secret
from tests.webhooks.receiver import SECRET


def headers(secret: str, body: bytes) -> dict[str, str]:
    now = int(time.time())
    signature = Secret(secret).sign("msg_1", now, body)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": signature}


@pytest.mark.parametrize("size", [24, 64])
@pytest.mark.parametrize("body", [b"{}", '{"text":"ä\N{SNOWMAN}"}'.encode(), b" [1] "])
def test_a_receiver_verifies_the_signature(size: int, body: bytes) -> None:
    secret = f"whsec_{base64.b64encode(os.urandom(size)).decode()}"
    Webhook(secret).verify(body, headers(secret, body))
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers(secret, body))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers(secret, body))


def test_the_signature_equals_that_of_the_reference_library() -> None:
    expected = Webhook(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", datetime(2021, 2, 25, tzinfo=UTC), "{}")
    timestamp = int(datetime(2021, 2, 25, tzinfo=UTC).timestamp())
    assert Secret(SECRET).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp, b"{}") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        SECRET.removeprefix("whsec_"),
        SECRET[:-4],
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + "*" * 40,
        SECRET + "ä",
        "a secret of a person who has not read the guide",
    ],
)
def test_what_is_no_secret_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected whsec_ and the base64 of 24 to 64 random bytes$"):
        Secret(text)
