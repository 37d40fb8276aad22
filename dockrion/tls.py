"""TLS for the connections that a service accepts: its certificate and private key, which may be replaced."""

import logging
import ssl
import stat
from asyncio.sslproto import SSLProtocol
from pathlib import Path

from dockrion.errors import StartError
from dockrion.logs import log

_logger = logging.getLogger(__name__)
_RECORD_BYTES = 16 * 1024  # the most that is encrypted as one (RFC 8446, 5.1)
_MAX_FILE_BYTES = 1024 * 1024
_IS_CERTIFICATE = b"CERTIFICATE-----"


class ServerTls:
    """The certificate and the key, as new connections use them.

    Args:
        certificate: The file of the certificate, and of those that certify it, in PEM.
        key: The file of its private key, in PEM.

    Attributes:
        context: For new connections.

    Raises:
        StartError: They cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = self._load()

    def reload(self) -> None:
        """Read the files again, for new connections. If they cannot be used, what was read before stays."""
        try:
            # Not into the context that is used: a half of a pair that does not match would stay there.
            self.context = self._load()
        except StartError as error:
            log(_logger, logging.ERROR, "certificate not replaced: the last one stays", reason=str(error))
        else:
            log(_logger, logging.INFO, "certificate read again", certificate=str(self._certificate))

    def _load(self) -> ssl.SSLContext:
        _check_readable("certificate", self._certificate)
        _check_readable("key", self._key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9325, 3.1.1
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # OpenSSL reads the key: it is never an object of Python's, which tracebacks and dumps would show.
            context.load_cert_chain(self._certificate, self._key, password=self._refuse_password)
        except (ssl.SSLError, OSError) as error:
            raise StartError(self._problem(error)) from error
        return context

    def _problem(self, error: OSError) -> str:
        certificate, key = self._certificate, self._key
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        if reason == "KEY_VALUES_MISMATCH":
            return f"expose.tls: the key in {key} is not that of the first certificate in {certificate}"
        if _IS_CERTIFICATE not in certificate.read_bytes():
            return f"expose.tls.certificate: {certificate} has no certificate in PEM"
        if reason is None:
            return f"expose.tls: {certificate}, or the private key in {key}, is not valid PEM"
        return f"expose.tls: {certificate} and {key} cannot be used: {reason.lower().replace('_', ' ')}"

    def _refuse_password(self) -> str:
        raise StartError(
            f"expose.tls.key: {self._key} is encrypted; decrypt it with `openssl pkey -in … -out …`, "
            "into a file that only this service can read"
        )


def shrink_buffers() -> None:
    """Have connections read one record at a time.

    asyncio gives each a buffer of 256 KiB, six times of all else that an idle one takes, and has no option
    for that. tests/test_tls.py fails when a new version of Python no longer uses this attribute.
    """
    SSLProtocol.max_size = _RECORD_BYTES


def _check_readable(field: str, path: Path) -> None:
    """Check that a file can be read, and that this has an end.

    The error of OpenSSL would not say which file cannot be read, and it reads devices and pipes, too.

    Raises:
        StartError: It cannot.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            reason = "it is no regular file"
        elif status.st_size > _MAX_FILE_BYTES:
            reason = "it is larger than 1 MiB"
        else:
            with path.open("rb"):
                return
    except OSError as error:
        reason = error.strerror or str(error)
    raise StartError(f"expose.tls.{field}: cannot read {path}: {reason}")
