"""Where callers may have webhooks sent to."""

import socket

import pytest

from dockrion.errors import InvalidRequest
from dockrion.webhooks.allowed_hosts import AllowedHosts

ALLOWED = AllowedHosts(
    ["Hooks.Example.com", "203.0.113.7", "10.1.0.0/16", "fd00:1::/32", "xn--bcher-kva.example"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a/b?c=d&e=%20",
        "http://HOOKS.example.com:8080/",
        "https://203.0.113.7/",
        "http://10.1.2.3:81/",
        "http://[fd00:1::5]:81/x",
        "https://xn--bcher-kva.example/",
    ],
)
def test_a_url_at_a_listed_host_is_accepted(url: str) -> None:
    assert ALLOWED.check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example.com", "//hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd"),
        *("https://example.com/", "https://a.hooks.example.com/", "https://hooks.example.com.evil.example/"),
        *("https://evil.example/?hooks.example.com", "https://hooks.example.com@evil.example/"),
        *("https://evil.example#hooks.example.com", "https://hooks.example.com\\.evil.example/"),
        *("https://evil.example\\@hooks.example.com/", "https://me:pw@hooks.example.com/"),
        *("https://hooks.example.com/ x", "https://hooks.example.com/\n", "https://hooks.example.com/\0"),
        *("https://hooks.example.com./", "https://hooks.example.com:99999/", "https://hooks.example.com:x/"),
        *("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "https:///x", "https://[::1"),
        *(
            "http://127.0.0.1/",
            "http://10.2.0.1/",
            "http://10.1.2/",
            "http://167838211/",
            "http://0x0a010203/",
        ),
        *("http://[::1]/", "http://[fd00:2::1]/", "http://[::ffff:10.1.2.3]/", "http://localhost/"),
        "https://hooks.example.com/" + "x" * 2048,
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="webhook_url"):
        ALLOWED.check_url(url)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
        *(
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
        ),
        *("255.255.255.255", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1"),
        *("fd12:3456::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not ALLOWED.permits(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ConnectionRefusedError, match="not public"):
        ALLOWED.new_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
        *("10.1.0.9", "fd00:1::9", "203.0.113.7"),  # listed
    ],
)
def test_a_public_or_listed_address_is_permitted(address: str) -> None:
    assert ALLOWED.permits(address)


def test_every_network_may_be_listed() -> None:
    everything = AllowedHosts(["0.0.0.0/0", "::/0"])
    assert all(everything.permits(address) for address in ("127.0.0.1", "::1", "8.8.8.8"))
