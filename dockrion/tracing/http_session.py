"""The HTTP session of exporters: whatever a collector does, a request ends, and its response is small."""

import socket
import threading
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_MAX_RESPONSE = 64 * 1024  # bytes; a response says at most how many spans were refused


class ExporterSession(requests.Session):
    """An HTTP session that follows no redirect, keeps no large response, and limits whole requests.

    Attributes:
        unreachable: Whether nobody has accepted the last connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stream = True
        self.unreachable = False
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        with _TimeLimit(options["timeout"]) as limit:
            try:
                response = super().send(request, **{**options, "allow_redirects": False})
                length = response.headers.get("Content-Length", "")
                if length.isdecimal() and int(length) <= _MAX_RESPONSE:
                    _ = response.content  # so that the connection can be used again
                else:
                    response.close()
            except requests.ConnectionError as error:
                if limit.is_over:
                    raise requests.Timeout("the response takes too long") from error
                self.unreachable = True
                raise
        self.unreachable = False
        if response.is_redirect:
            raise requests.TooManyRedirects("it redirects, which is not followed")
        return response


class _TimeLimit:
    """Ends the request that is made in a block when it takes too long.

    The time-out of `requests` is that of each read, so that a response that comes in drops has no end.

    Args:
        seconds: How long it may take.

    Attributes:
        is_over: Whether it took too long.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._connection: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _limit.set(self)
        self._timer.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        _limit.reset(self._token)

    def watch(self, connection: socket.socket | None) -> None:
        """Note the connection over which the request is made."""
        self._connection = connection

    def _end(self) -> None:
        self.is_over = True
        if self._connection is not None:
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)  # also of one with TLS, at once


_limit: ContextVar[_TimeLimit | None] = ContextVar("dockrion_export_limit", default=None)


def _watch(connection: HTTPConnection) -> None:
    if (limit := _limit.get()) is not None:
        limit.watch(connection.sock)


class _Connection(HTTPConnection):
    def getresponse(self) -> Any:
        _watch(self)
        return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        _watch(self)
        return super().getresponse()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Makes connections that the limit of a request knows."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
