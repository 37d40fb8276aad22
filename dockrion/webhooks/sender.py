"""Sends one message to one URL."""

import asyncio
import re
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dockrion.caller import NO_REQUEST, CallerRequest
from dockrion.http_client import HttpClient, succeeded
from dockrion.threads import in_thread, in_thread_if_large
from dockrion.webhooks.allowed_hosts import AllowedHosts
from dockrion.webhooks.message import Message
from dockrion.webhooks.signing import Secret

SEND_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_READ_BYTES, _READ_SECONDS = 4096, 1.0  # of a response, to use its connection again; nothing in it matters
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class Result(NamedTuple):
    """How a receiver has responded.

    Attributes:
        outcome: `gone`: it does not want to be asked again.
        reason: Why it failed, for the log.
        retry_after: Seconds until it wants to be asked again, 0 if it does not say.
    """

    outcome: Literal["delivered", "failed", "gone"]
    reason: str = ""
    retry_after: float = 0.0


class Resolver(AbstractResolver):
    """Resolves names in threads of its own: a look-up that hangs must not take those of agents' code."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=found_family, proto=protocol, flags=0
            )
            for found_family, _, protocol, _, address in await in_thread(look_up, "dockrion-resolve")
        ]

    async def close(self) -> None:
        """Return: there is nothing to release."""


class Sender:
    """Sends messages, without following redirects. Created on the event loop that uses it.

    Args:
        allowed: Where callers' URLs may lead; the operator's may lead anywhere.
        seconds: How long sending a message may take.
        resolver: Resolves names.
    """

    def __init__(
        self,
        allowed: AllowedHosts,
        *,
        seconds: float = SEND_SECONDS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        resolver = resolver or Resolver()
        self.seconds = seconds
        self._to_targets = HttpClient(_CONNECT_SECONDS, resolver=resolver)
        self._to_callers = HttpClient(_CONNECT_SECONDS, resolver=resolver, socket_factory=allowed.new_socket)

    async def send(
        self,
        url: str,
        secret: Secret,
        message: Message,
        *,
        by_caller: bool,
        request: CallerRequest = NO_REQUEST,
    ) -> Result:
        """Send a message.

        Args:
            url: Where to.
            secret: Signs it.
            message: The message.
            by_caller: Whether a caller has named the URL.
            request: The request that created the run, whose trace is continued.
        """
        now = int(time.time())
        sign = partial(secret.sign, message.id, now, message.body)
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
            **request.context_headers,
            **(message.headers or {}),
            "webhook-signature": await in_thread_if_large(sign, len(message.body), "dockrion-sign"),
        }
        client = self._to_callers if by_caller else self._to_targets
        timeout = aiohttp.ClientTimeout(total=self.seconds, sock_connect=_CONNECT_SECONDS)
        try:
            async with client.request(
                "POST", url, data=message.body, headers=headers, timeout=timeout
            ) as response:
                with suppress(TimeoutError, aiohttp.ClientError):
                    async with asyncio.timeout(_READ_SECONDS):
                        await response.content.read(_READ_BYTES)
                return _result(response)
        except TimeoutError:
            return Result("failed", f"no response within {self.seconds:g} seconds")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("failed", _reason(error))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._to_targets.aclose()
        await self._to_callers.aclose()


def origin(url: str) -> str:
    """Return the part of a URL that is no secret: a path or a query may contain a token."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return "an invalid URL"


def _result(response: Any) -> Result:
    if succeeded(response.status):
        return Result("delivered")
    if response.status == HTTPStatus.GONE:
        return Result("gone", "the receiver responds 410 Gone")
    reason = f"the receiver responds {response.status}"
    return Result("failed", reason, _retry_after(response.headers.get(hdrs.RETRY_AFTER, "")))


def _retry_after(text: str) -> float:
    """Return the seconds in a `Retry-After` (RFC 9110, 10.2.3), which may be a date; 0 if there are none."""
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _reason(error: Exception) -> str:
    """Return why there was no response, without the URL."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return str(cause.strerror or cause) if isinstance(cause, OSError) else type(cause).__name__
