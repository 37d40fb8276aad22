"""The address of listening sockets."""

import socket
from contextlib import ExitStack, closing
from pathlib import Path

from dockrion.server.sockets import Address, address_of
from dockrion.tls import ServerTls
from tests.certificates import write_certificate


def test_the_address_is_the_first_of_ipv4_or_the_path(tmp_path: Path) -> None:
    with ExitStack() as stack:

        def listening(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
            made = stack.enter_context(closing(socket.socket(family)))
            made.bind(address)
            return made

        four = listening(socket.AF_INET, ("127.0.0.1", 0))
        six = listening(socket.AF_INET6, ("::1", 0))
        unix = listening(socket.AF_UNIX, str(tmp_path / "s"))
        assert address_of([six, four]) == four.getsockname()
        assert address_of([six]) == six.getsockname()[:2]
        assert address_of([unix]) == str(tmp_path / "s")


def test_url_for_a_browser_has_the_scheme_that_is_served(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    tls = ServerTls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    assert Address("0.0.0.0", 0).url(8080) == "http://localhost:8080"
    assert Address("0.0.0.0", 0, tls=tls).url(8443) == "https://localhost:8443"
    assert Address("::1", 0, tls=tls).url(443) == "https://[::1]:443"
    assert Address("::1", 0, tmp_path, tls).url(0) is None
