"""Asking whoever issues tokens, over HTTP."""

import asyncio
import logging
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import msgspec

from dockrion.errors import ServiceUnavailable
from dockrion.http_client import HttpEndpoint, succeeded
from dockrion.logs import log

_CONNECT_SECONDS = 3.0
_SECONDS = 5.0  # for everything
_MOST_REQUESTS = 32  # at once, so that strangers' tokens are no flood for the issuer
_MOST_BYTES = 256 * 1024
_TROUBLE = (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.MsgspecError, RecursionError)
_logger = logging.getLogger(__name__)


class Issuer:
    """Asks one URL: without redirects, cookies or a proxy, which would carry what it is told elsewhere.

    Args:
        url: The URL.
        client: The service's own id and secret there, or None.
    """

    def __init__(self, url: str, client: tuple[str, str] | None = None) -> None:
        self._url = url
        self._headers = {"Accept": "application/json"}
        if client is not None:
            self._headers["Authorization"] = _basic(*client)
        self._places = asyncio.Semaphore(_MOST_REQUESTS)
        self._peer: HttpEndpoint | None = None

    async def ask(self, form: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object that is answered, to a form, or to a GET without one.

        Raises:
            ServiceUnavailable: There is no such answer in time.
        """
        try:
            async with asyncio.timeout(_SECONDS), self._places:
                try:
                    return await self._ask(form)
                except aiohttp.ServerDisconnectedError:  # perhaps it was idle, and closed meanwhile
                    if form is None:
                        raise  # aiohttp has asked twice
                    return await self._ask(form)
        except _TROUBLE as error:
            log(_logger, logging.WARNING, "issuer of tokens fails", reason=repr(error))
            raise ServiceUnavailable(
                "whoever issues tokens cannot be asked at present; try again later"
            ) from error

    async def aclose(self) -> None:
        """Close its connections."""
        if self._peer is not None:
            await self._peer.aclose()

    async def _ask(self, form: dict[str, str] | None) -> dict[str, Any]:
        if self._peer is None:
            self._peer = HttpEndpoint(self._url, _CONNECT_SECONDS)
        method = "GET" if form is None else "POST"
        async with self._peer.request(method, data=form, headers=self._headers) as answer:
            if not succeeded(answer.status):
                raise ValueError(f"status {answer.status}")
            return msgspec.json.decode(await _body(answer), type=dict[str, Any])


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
    return bytes(body)


def _basic(client_id: str, secret: str) -> str:
    """Return a client's id and secret as a header's value (RFC 6749, 2.3.1)."""
    return aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(secret))
