"""Sending one message: responses, redirects, slow receivers, and where callers' URLs lead."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from dockrion.webhooks import sender as sender_module
from dockrion.webhooks.allowed_hosts import AllowedHosts
from dockrion.webhooks.message import Message
from dockrion.webhooks.sender import Result, Sender, origin
from dockrion.webhooks.signing import Secret
from tests.webhooks.receiver import SECRET, Receiver, hang, receiving

MESSAGE = Message("msg_1", b'{"data": {"event": {"sequence": 1}}}')


class Answers(AbstractResolver):
    """Resolves any name to the next of some addresses, the last one from then on."""

    def __init__(self, *addresses: str) -> None:
        self.left = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to release."""


async def send(
    url: str,
    *,
    allowed: tuple[str, ...] = (),
    by_caller: bool = False,
    seconds: float = 5,
    resolver: AbstractResolver | None = None,
) -> Result:
    sender = Sender(AllowedHosts(allowed), seconds=seconds, resolver=resolver)
    try:
        return await sender.send(url, Secret(SECRET), MESSAGE, by_caller=by_caller)
    finally:
        await sender.aclose()


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_a_successful_status_is_a_delivery(receiver: Receiver, status: int) -> None:
    receiver.script(web.Response(status=status))
    assert await send(receiver.url) == Result("delivered")
    assert receiver.ids == ["msg_1"]


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 429, 500, 503])
async def test_any_other_status_is_a_failure(receiver: Receiver, status: int) -> None:
    receiver.script(web.Response(status=status))
    assert await send(receiver.url) == Result("failed", f"the receiver responds {status}")


async def test_410_says_that_the_receiver_is_gone(receiver: Receiver) -> None:
    receiver.script(web.Response(status=410))
    assert (await send(receiver.url)).outcome == "gone"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    async with receiving() as other:
        receiver.script(web.Response(status=status, headers={"Location": other.url}))
        assert await send(receiver.url) == Result("failed", f"the receiver responds {status}")
        assert other.received == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        *(("", 0), ("soon", 0), ("-1", 0), ("1e9", 0), ("9" * 40, 0), ("\N{ARABIC-INDIC DIGIT ONE}", 0)),
    ],
)
async def test_retry_after_is_seconds_or_a_date(receiver: Receiver, header: str, seconds: float) -> None:
    receiver.script(web.Response(status=503, headers={"Retry-After": header}))
    assert (await send(receiver.url)).retry_after == pytest.approx(seconds, abs=100)


async def test_retry_after_may_be_a_date_to_come(receiver: Receiver) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    receiver.script(web.Response(status=503, headers={"Retry-After": date}))
    assert (await send(receiver.url)).retry_after == pytest.approx(600, abs=100)


async def test_a_receiver_that_does_not_respond_is_left(receiver: Receiver) -> None:
    receiver.script(hang)
    assert await send(receiver.url, seconds=0.1) == Result("failed", "no response within 0.1 seconds")


async def test_what_a_receiver_responds_without_end_is_not_read(receiver: Receiver) -> None:
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            written += 65_536

    receiver.script(flood)
    assert await send(receiver.url) == Result("delivered")
    await asyncio.sleep(0.05)
    assert written < 2**25


async def test_a_response_whose_body_does_not_arrive_counts(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "_READ_SECONDS", 0.05)

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        return await hang(request)

    receiver.script(stall)
    assert await send(receiver.url) == Result("delivered")


async def test_a_receiver_that_is_away_is_a_failure_whose_reason_hides_the_url() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = await send(f"http://127.0.0.1:{unused.getsockname()[1]}/secret-path")
    assert result.outcome == "failed"
    assert "secret-path" not in result.reason


@pytest.mark.parametrize("url", ["http://[", "http://", "http://a:x/", "https://\N{BULLET}..a/"])
async def test_a_malformed_url_is_a_failure(url: str) -> None:
    assert (await send(url)).outcome == "failed"
    assert isinstance(origin(url), str)


async def test_a_name_that_does_not_resolve_is_a_failure() -> None:
    assert (await send("http://does-not-exist.invalid/")).outcome == "failed"


async def test_targets_of_the_operator_may_be_private(receiver: Receiver) -> None:
    assert (await send(receiver.url)).outcome == "delivered"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
async def test_no_url_of_a_caller_leads_to_a_private_address(receiver: Receiver, host: str) -> None:
    result = await send(f"http://{host}:{receiver.server.port}/", by_caller=True)
    assert result.outcome == "failed"
    assert receiver.received == []


async def test_a_listed_private_address_is_connected_to(receiver: Receiver) -> None:
    url = f"http://hooks.example.com:{receiver.server.port}/"
    result = await send(url, by_caller=True, allowed=("127.0.0.0/8",), resolver=Answers("127.0.0.1"))
    assert result == Result("delivered")


async def test_a_name_that_changes_its_address_leads_no_further(receiver: Receiver) -> None:
    resolver = Answers("127.0.0.1", "127.0.0.2")  # DNS rebinding: what is checked is what is connected to
    sender = Sender(AllowedHosts(["hooks.example.com", "127.0.0.1"]), resolver=resolver)
    url = f"http://hooks.example.com:{receiver.server.port}/"
    results = []
    async with receiving("127.0.0.2", receiver.server.port) as other:
        for _ in range(3):
            response = web.Response()
            response.force_close()
            receiver.script(response)
            results.append(await sender.send(url, Secret(SECRET), MESSAGE, by_caller=True))
            sender._to_callers._session.connector.clear_dns_cache()  # type: ignore[union-attr]
        assert other.received == []
    refused = Result("failed", "the host is at an address that is not public, and not listed")
    assert results == [Result("delivered"), refused, refused]
    await sender.aclose()


def test_only_the_origin_of_a_url_is_shown() -> None:
    assert origin("https://hooks.example.com:8443/secret?token=x") == "https://hooks.example.com:8443"
    assert origin("https://me:password@hooks.example.com/secret") == "https://hooks.example.com"
