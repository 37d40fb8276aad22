"""Whom a trusted proxy forwards a request for, by its headers; they may have been made up in part."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from dockrion.dockfile.expose_structs import CorsSpec, ExposeSpec
from dockrion.errors import Forbidden, InvalidRequest, MisdirectedRequest
from dockrion.web.cross_origin import CrossOriginProtection
from dockrion.web.peers import CLIENT, FORWARDED, UNIX, parse_address
from dockrion.web.trusted_proxies import TrustedProxies

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8::/32", UNIX)
LOCAL = "127.0.0.1"
Headers = Iterable[tuple[str, str]]


def identified(headers: Headers, peer: str = LOCAL, trusted: Iterable[str] = PROXIES) -> Any:
    """Return the request after its client was identified."""
    asked = make_mocked_request("POST", "/invoke")
    asked._headers = CIMultiDictProxy(CIMultiDict(headers))  # any text, as the HTTP parser gives it
    asked[CLIENT] = peer
    TrustedProxies(tuple(trusted)).identify(asked)
    return asked


def client(*values: str, name: str = "X-Forwarded-For", peer: str = LOCAL) -> str:
    return str(identified([(name, value) for value in values], peer)[CLIENT])


def sent_to(*headers: tuple[str, str]) -> tuple[str | None, str | None]:
    """Return the scheme and the host."""
    forwarded = identified(headers)[FORWARDED]
    return forwarded.scheme, forwarded.host


CHAINS = [  # values of X-Forwarded-For, and who the client is
    (["203.0.113.7"], "203.0.113.7"),
    (["made up, 198.51.100.1, 203.0.113.7"], "203.0.113.7"),
    (["127.0.0.1", "203.0.113.7"], "203.0.113.7"),
    (["9.9.9.9, 203.0.113.7, 10.0.0.2", "10.1.2.3"], "203.0.113.7"),
    (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # inside: the first of all
    (["203.0.113.7:4711"], "203.0.113.7"),
    (["2001:db9::1"], "2001:db9::1"),
    (["[2001:DB9:0::1]:443"], "2001:db9::1"),
    (["[2001:db9::1]"], "2001:db9::1"),
    (["2001:db9::1, [2001:db8::5]:1"], "2001:db9::1"),
    (["::ffff:203.0.113.7, ::ffff:10.0.0.1"], "203.0.113.7"),
    ([" , 203.0.113.7 ,, "], "203.0.113.7"),
    ([""], LOCAL),
    (["unknown"], LOCAL),
    (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
    (["_hidden, 10.0.0.2"], "10.0.0.2"),
    (["_hidden:_port"], LOCAL),
]


@pytest.mark.parametrize(("values", "expected"), CHAINS, ids=str)
def test_client_is_the_first_from_the_right_that_is_not_trusted(values: list[str], expected: str) -> None:
    assert client(*values) == expected


ELEMENTS = [  # values of Forwarded, and who the client is
    (["for=203.0.113.7"], "203.0.113.7"),
    (['For="[2001:db9::1]:4711"'], "2001:db9::1"),
    (["for=9.9.9.9, for=203.0.113.7;proto=https;by=_x, FOR=10.0.0.2"], "203.0.113.7"),
    (["for=9.9.9.9", "for=203.0.113.7"], "203.0.113.7"),
    (['for="203.0.113.7:80" ; proto=http'], "203.0.113.7"),
    (['for="\\2\\03.0.113.7"'], "203.0.113.7"),
    (['host="a,b;for=9.9.9.9", for=203.0.113.7'], "203.0.113.7"),
    (['for=", for=203.0.113.7', "for=203.0.113.7"], "203.0.113.7"),
    (["for=unknown"], LOCAL),
    (["for=9.9.9.9, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
    (["for=9.9.9.9, proto=https"], LOCAL),
    ([""], LOCAL),
    ([" , ;, "], LOCAL),
]


@pytest.mark.parametrize(("values", "expected"), ELEMENTS, ids=str)
def test_standard_header_is_followed_likewise(values: list[str], expected: str) -> None:
    assert client(*values, name="Forwarded") == expected


MALFORMED = [
    *(
        ("X-Forwarded-For", value)
        for value in ("me", "203.0.113.7 10.0.0.1", "1.2.3", "[::1", "::1]", "1.2.3.4:")
    ),
    *(("X-Forwarded-For", value) for value in ("0x7f.1", "1.2.3.4:99999999", "fe80::1%eth0", "\u0661.2.3.4")),
    *(
        ("X-Forwarded-For", value)
        for value in ("for=1.2.3.4", "http://1.2.3.4", "12345", "127.1", "010.0.0.1")
    ),
    ("X-Forwarded-For", "203.0.113.7," * 400),
    *(
        ("Forwarded", value)
        for value in ("203.0.113.7", "for=", 'for="', "for = 1.2.3.4", "for=[::2]", "for=a b")
    ),
    *(
        ("Forwarded", value)
        for value in ("for=1.1.1.1;for=2.2.2.2", 'for="\\', "for=1.1.1.1;FOR=1.1.1.1", "=")
    ),
    *(("Forwarded", value) for value in ("for=1.1.1.1;proto=ftp", 'for=1.1.1.1;host="a b"', "for=::1")),
    ("Forwarded", "for=1.1.1.1," + " " * 5000),
    *(("X-Forwarded-Proto", value) for value in ("ftp", "https;", "http https")),
    *(("X-Forwarded-Host", value) for value in ("a/b", "u@a", "a:b", "[::1", "a" * 256, "\udcff")),
]


@pytest.mark.parametrize("header", MALFORMED, ids=lambda header: ascii(header)[:60])
def test_malformed_headers_of_a_trusted_proxy_are_refused(header: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        identified([header])
    assert identified([header], peer="203.0.113.7")[CLIENT] == "203.0.113.7"  # nobody's business


SENT_TO = [
    (
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "Agent.Example:8443")],
        ("https", "agent.example:8443"),
    ),
    ([("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "WSS")], ("https", None)),
    (  # each proxy has added to each list
        [
            ("X-Forwarded-For", "9.9.9.9, 203.0.113.7, 10.0.0.2"),
            ("X-Forwarded-Proto", "ftp, https, http"),
            ("X-Forwarded-Host", "evil, agent.example, inner"),
        ],
        ("https", "agent.example"),
    ),
    (  # the last proxy has set the scheme anew
        [("X-Forwarded-For", "203.0.113.7, 10.0.0.2"), ("X-Forwarded-Proto", "https")],
        ("https", None),
    ),
    ([("Forwarded", 'for=1.1.1.1;proto=https;host="agent.example:443"')], ("https", "agent.example:443")),
    ([("Forwarded", "for=9.9.9.9;proto=ftp, for=1.1.1.1;host=a, for=10.0.0.2;proto=http")], (None, "a")),
    ([("Forwarded", 'proto=http;host="[::1]:80"')], ("http", "[::1]:80")),
]


@pytest.mark.parametrize(("headers", "expected"), SENT_TO, ids=str)
def test_scheme_and_host_are_those_of_the_same_proxy(headers: Any, expected: tuple[str, str]) -> None:
    assert sent_to(*headers) == expected


@pytest.mark.parametrize(
    ("standard", "conventional"),
    [
        ("for=9.9.9.9", ("X-Forwarded-For", "203.0.113.7")),
        ("for=203.0.113.7", ("X-Forwarded-Proto", "https")),  # of the proxy itself
        ("proto=http", ("X-Forwarded-Proto", "https")),
        ("host=a", ("X-Forwarded-Host", "b")),
    ],
)
def test_contradicting_kinds_of_headers_are_refused(standard: str, conventional: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="contradict"):
        identified([("Forwarded", standard), conventional])


def test_kinds_of_headers_that_agree_add_up() -> None:
    asked = identified([("Forwarded", "for=1.1.1.1;proto=https"), ("X-Forwarded-For", "9.9.9.9, 1.1.1.1")])
    assert (asked[CLIENT], asked[FORWARDED].scheme) == ("1.1.1.1", "https")
    asked = identified(
        [("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Host", "a")]
    )
    assert asked[FORWARDED].host == "a"


@pytest.mark.parametrize(
    "peer", ["203.0.113.7", "11.0.0.1", "2001:db9::1", "fe80::1%eth0", "::ffff:11.0.0.1"]
)
def test_other_peers_are_not_believed(peer: str) -> None:
    asked = identified([("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=2.2.2.2")], peer)
    assert asked[CLIENT] == peer
    assert FORWARDED not in asked
    assert identified([("X-Forwarded-For", "1.1.1.1")], UNIX, ["0.0.0.0/0", "::/0"])[CLIENT] == UNIX


@pytest.mark.parametrize("peer", ["10.9.9.9", "::ffff:10.0.0.1", "2001:db8::1%eth0", UNIX])
def test_trusted_peers_are_believed(peer: str) -> None:
    assert client("1.1.1.1", peer=peer) == "1.1.1.1"


NAMES = st.sampled_from(["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"])
PIECES = st.sampled_from(
    [
        *',;="\\[]:. \t_%',
        "for=",
        "proto=",
        "1.1.1.1",
        "10.0.0.1",
        "unknown",
        "https",
        "::1",
        "\udcff",
        "host=a",
    ]
)


@given(st.lists(st.tuples(NAMES, st.lists(PIECES, max_size=9).map("".join)), max_size=4))
def test_hostile_headers_never_change_what_the_proxy_has_added(headers: list[tuple[str, str]]) -> None:
    own = [(name, value) for name, value in headers if name == "X-Forwarded-For"]
    assert identified([*own, ("X-Forwarded-For", "203.0.113.7")])[CLIENT] == "203.0.113.7"
    with suppress(InvalidRequest):
        assert parse_address(identified(headers)[CLIENT]) is not None


@pytest.mark.parametrize(
    "piece", [" ", '"', "\\", ",", ";", "a=b;", 'a="', "1.1.1.1,", "10.0.0.1,", "[", "for=10.0.0.1,"]
)
def test_longest_headers_take_no_time(piece: str) -> None:
    for name in ("Forwarded", "X-Forwarded-For"):
        assert min(seconds_to_identify(name, piece) for _ in range(3)) < 0.1


def seconds_to_identify(name: str, piece: str) -> float:
    """Return the CPU time for headers that repeat a text; a stop of the virtual machine counts, too."""
    begun = time.thread_time()
    for each in ([(name, (piece * 8000)[:8000])] * 60, [(name, (piece * 4096)[:4096])]):
        with suppress(InvalidRequest):
            identified(each)
    return time.thread_time() - begun


def of_page(origin: str, peer: str = LOCAL, **forwarded: str) -> Any:
    headers = [("Host", "inner"), ("Origin", origin)]
    headers += [(f"X-Forwarded-{name}", value) for name, value in forwarded.items()]
    return identified(headers, peer)


@pytest.mark.parametrize(
    ("page", "own"),
    [
        (of_page("https://agent.example", Host="agent.example", Proto="https"), True),
        (of_page("https://agent.example", Host="agent.example"), True),
        (of_page("https://inner", Proto="https"), True),
        (of_page("https://agent.example", Host="agent.example", Proto="http"), False),
        (of_page("https://inner", Host="agent.example", Proto="https"), False),
        (of_page("https://agent.example"), False),
        (of_page("http://agent.example", Host="agent.example", Proto="http"), False),  # may be rebound
        (of_page("https://agent.example", "203.0.113.7", Host="agent.example"), False),
    ],
)
def test_own_page_is_recognized_by_what_a_proxy_says(page: Any, *, own: bool) -> None:
    protection = CrossOriginProtection(ExposeSpec(cors=CorsSpec(origins=["https://other.example"])))
    if own:
        protection.check(page)
    else:
        with pytest.raises(Forbidden):
            protection.check(page)


def test_rebound_name_gains_nothing_by_the_headers_of_a_proxy() -> None:
    protection = CrossOriginProtection(ExposeSpec())
    protection.listen_on("localhost", [LOCAL])
    with pytest.raises(MisdirectedRequest):
        protection.check(of_page("http://inner", Host="localhost"))


def prefix(*values: str, hops: str = "1.1.1.1", peer: str = LOCAL) -> Any:
    headers = [("X-Forwarded-For", hops)] if hops else []
    return identified([*headers, *(("X-Forwarded-Prefix", value) for value in values)], peer)[
        FORWARDED
    ].prefix


@pytest.mark.parametrize(
    ("values", "hops", "expected"),
    [
        ([], "1.1.1.1", None),
        (["/agents/writer"], "1.1.1.1", "/agents/writer"),
        (["/agents/writer/"], "", "/agents/writer"),
        (["/"], "1.1.1.1", ""),
        ([" , "], "1.1.1.1", None),
        (["/made/up", "/a"], "1.1.1.1", "/a"),
        (["/made/up, /a"], "", "/a"),
        (["/made/up", "/a, /b/"], "1.1.1.1, 10.0.0.1", "/a/b"),  # each of two proxies removes a part
        (["/a"], "1.1.1.1, 10.0.0.1", "/a"),
        (["/" + "a" * 255], "1.1.1.1", "/" + "a" * 255),
    ],
    ids=str,
)
def test_prefix_is_what_trusted_proxies_have_removed(
    values: list[str], hops: str, expected: str | None
) -> None:
    assert prefix(*values, hops=hops) == expected


def test_prefix_goes_with_the_standard_header() -> None:
    headers = [("Forwarded", "for=1.1.1.1, for=10.0.0.1"), ("X-Forwarded-Prefix", "/a, /b")]
    forwarded = identified(headers)[FORWARDED]
    assert (forwarded.client, forwarded.prefix) == ("1.1.1.1", "/a/b")


@pytest.mark.parametrize(
    "value",
    [
        *(
            "agents",
            "//evil.example",
            "/a//b",
            "/a/../b",
            "/..",
            "/./a",
            "https://evil.example/a",
            "/a?b",
            "/a#b",
        ),
        *("/a b", '/a"><script>', "/a\\b", "/%2e%2e", "/a\x00", "/a\x7f", "/ä", "/" + "a" * 256, "/a" * 3000),
        "javascript:alert(1)",
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_prefix_that_could_be_another_url_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        prefix(value)
    assert FORWARDED not in identified([("X-Forwarded-Prefix", value)], peer="203.0.113.7")
