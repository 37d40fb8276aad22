"""The body of one response as messages: what the client and `dockrion load` read events with."""

import aiohttp

from dockrion.client.errors import ProtocolError
from dockrion.client.transport import Transport, release
from dockrion.wire import sse


class EventResponse:
    """A response whose body is an event stream.

    Args:
        transport: Sent the request.
        response: The response.

    Attributes:
        received: The number of bytes of the latest `read`.
        active: Whether the latest `read` had an event or a comment, such as a keep-alive.

    Raises:
        ProtocolError: The body is not an event stream.
    """

    def __init__(self, transport: Transport, response: aiohttp.ClientResponse) -> None:
        if response.content_type != sse.MEDIA_TYPE:
            response.close()
            raise ProtocolError(f"the response is not {sse.MEDIA_TYPE}")
        self._transport = transport
        self._response = response
        self._decoder = sse.Decoder()
        self.received = 0
        self.active = False

    @property
    def reconnect_delay(self) -> float | None:
        """The delay that the service asks for, in seconds."""
        return None if self._decoder.retry is None else self._decoder.retry / 1000

    async def read(self, limit: int = -1) -> list[sse.Message] | None:
        """Return the messages that the next bytes complete, None at the end of the body.

        Args:
            limit: The most bytes to read, -1 for all that have arrived.

        Raises:
            ConnectionLost: The connection broke.
            ProtocolError: A message is larger than any that a service sends.
        """
        chunk = await self._transport.read(self._response, limit)
        self.received = len(chunk)
        if not chunk:
            return None
        comments = self._decoder.comments
        messages = self._decoder.feed(chunk)
        if self._decoder.pending > sse.MAX_MESSAGE_BYTES:
            raise ProtocolError("an event is larger than any that a service sends")
        self.active = bool(messages) or self._decoder.comments > comments
        return messages

    def close(self) -> None:
        """Close the connection, or return it to the pool at the end of the body; idempotent."""
        release(self._response)
