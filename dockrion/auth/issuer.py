"""HTTP requests to a token issuer."""

import asyncio
import logging
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import msgspec

from dockrion.dependency import Dependency
from dockrion.errors import ServiceUnavailable
from dockrion.http_client import HttpEndpoint, loggable, succeeded
from dockrion.logs import log

_CONNECT_TIMEOUT = 3.0
_TOTAL_TIMEOUT = 5.0
_MAX_CONCURRENT = 32  # so that a flood of unknown tokens does not become one for the issuer
_MAX_BODY_BYTES = 256 * 1024
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, ValueError, msgspec.MsgspecError, RecursionError)
_logger = logging.getLogger(__name__)


class IssuerClient:
    """Sends requests to one URL of a token issuer.

    Follows no redirect, keeps no cookies and uses no proxy: they could send tokens elsewhere.

    Args:
        url: The URL.
        client: The service's own id and secret at the issuer, or None.

    Attributes:
        dependency: The issuer's state, as of the last request.
    """

    def __init__(self, url: str, client: tuple[str, str] | None = None) -> None:
        self.dependency = Dependency("unused")
        self._url = url
        self._headers = {"Accept": "application/json"}
        if client is not None:
            self._headers["Authorization"] = _basic_auth(*client)
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._endpoint: HttpEndpoint | None = None  # created on the event loop that uses it

    async def fetch(self, form: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object in the issuer's response.

        Args:
            form: Sent with POST; without one, the request is a GET.

        Raises:
            ServiceUnavailable: No such response arrived in time.
        """
        try:
            async with asyncio.timeout(_TOTAL_TIMEOUT), self._slots:
                try:
                    response = await self._request(form)
                except aiohttp.ServerDisconnectedError:  # the idle connection was closed meanwhile
                    if form is None:
                        raise  # aiohttp retries a GET itself
                    response = await self._request(form)
        except _FAILURES as error:
            self.dependency.enter("away", "no usable response in time")
            log(_logger, logging.WARNING, "token issuer request failed", reason=loggable(error))
            raise ServiceUnavailable("the token issuer cannot be reached; try again later") from error
        self.dependency.enter("up")
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        if self._endpoint is not None:
            await self._endpoint.aclose()

    async def _request(self, form: dict[str, str] | None) -> dict[str, Any]:
        if self._endpoint is None:
            self._endpoint = HttpEndpoint(self._url, _CONNECT_TIMEOUT)
        method = "GET" if form is None else "POST"
        async with self._endpoint.request(method, data=form, headers=self._headers) as response:
            if not succeeded(response.status):
                raise ValueError(f"status {response.status}")
            return msgspec.json.decode(await _read_body(response), type=dict[str, Any])


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ValueError(f"more than {_MAX_BODY_BYTES} bytes")
    return bytes(body)


def _basic_auth(client_id: str, secret: str) -> str:
    """Return the `Authorization` header of a client (RFC 6749, 2.3.1)."""
    return aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(secret))
