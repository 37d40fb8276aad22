"""Pages of other origins make nothing work, whatever kind of request they have the browser send."""

from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile.expose_structs import CorsSpec, ExposeSpec, Method
from dockrion.errors import Forbidden, MisdirectedRequest
from dockrion.web.cross_origin import CrossOriginProtection
from dockrion.web.routes import routes
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import Waits, error_of
from tests.web.wire import wire

ORIGIN, OTHER = "https://app.example", "https://evil.example"
RESTRICTED: dict[str, Any] = {
    "expose": {"streaming": "websocket", "cors": {"origins": [ORIGIN]}},
    "streaming": {"ingest": {"enabled": True}},
}
JSON = {"Content-Type": "application/json"}
FOREIGN = [
    {"Origin": OTHER},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": f"{ORIGIN}.evil.example"},
    {"Origin": f"{ORIGIN}, {OTHER}"},
    {"Origin": ORIGIN.replace("https", "http")},
    {"Origin": OTHER, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "of a later standard"},
]
OWN = [
    {},
    {"Origin": ORIGIN},
    {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://behind.a.proxy", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


def state_changing(served: Served) -> list[tuple[str, str]]:
    """Return every route whose request changes something, a WebSocket's handshake included."""
    all_routes = routes(served.service.dockfile)
    return [
        (route.method, route.path.replace("{run_id}", "r"))
        for route in all_routes
        if route.method != "GET" or route.path.endswith("/ws")
    ]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_page_of_another_origin_changes_nothing(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(agent := Waits(), **RESTRICTED)
    await served.start(run_id="r")
    asked = state_changing(served)
    assert len(asked) == 8
    for method, path in asked:
        async with served.client.request(method, path, json={}, headers=headers) as response:
            assert "expose.cors" in (await error_of(response, 403, "FORBIDDEN"))["error"]
    async with served.client.get("/runs") as response:
        assert [run["status"] for run in (await response.json())["items"]] == ["running"]
    agent.go.set()
    assert (await served.finished("r"))["last_sequence"] == 4
    assert len(agent.payloads) == 1


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_own_pages_allowed_pages_and_programs_work(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(**RESTRICTED)
    async with served.client.post("/invoke", json={}, headers=headers) as response:
        assert response.status == 200
    async with served.client.ws_connect("/invoke/ws", headers=headers) as socket:
        await socket.send_json({})
        assert (await socket.receive_json())["type"] == "started"


async def test_refused_page_costs_no_body_and_no_credentials(serve: Serve) -> None:
    served = await serve(**RESTRICTED)
    async with wire(served) as connection:
        await connection.send(
            f"POST /invoke HTTP/1.1\r\nHost: tested\r\nOrigin: {OTHER}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{".encode()
        )
        line, _ = await connection.head()
        assert line == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_links_and_reading_remain_possible(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(**RESTRICTED)
    for path in ("/", "/health", "/docs", "/runs"):
        async with served.client.get(path, headers=headers) as response:
            assert response.status == 200
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_every_page_is_allowed_by_default(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve()
    async with served.client.post("/invoke", json={}, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("path", ["/invoke", "/invoke/stream", "/runs", "/runs?external=true"])
async def test_simple_request_is_no_json_even_by_default(serve: Serve, path: str, content_type: str) -> None:
    """A page needs no preflight for these, so that `expose.cors.methods` would not count."""
    served = await serve(streaming={"ingest": {"enabled": True}})
    for sent in ({"Content-Type": content_type} if content_type else {}, {}):
        async with served.client.post(
            path, data=b"{}", headers=sent, skip_auto_headers=["Content-Type"]
        ) as response:
            await error_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    async with served.client.get("/runs") as response:
        assert (await response.json())["items"] == []


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "text/plain; application/json",
            "text/plain;charset=application/json",
            "text/plain, application/json",
        ),
        *("text/plain;, application/json", " ; application/json", "text/plain; x=+json"),
        *("application/json, text/plain", "application/jsonp", "application/x-json"),
    ],
)
async def test_no_spelling_of_a_simple_type_is_json(serve: Serve, content_type: str) -> None:
    served = await serve()
    async with served.client.post("/invoke", data=b"{}", headers={"Content-Type": content_type}) as response:
        await error_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_chunked_body_needs_its_type_too(serve: Serve) -> None:
    served = await serve()
    async with wire(served) as connection:
        await connection.send(
            b"POST /invoke HTTP/1.1\r\nHost: tested\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        line, _ = await connection.head()
        assert line == "HTTP/1.1 415 Unsupported Media Type"


async def test_methods_apply_to_requests_without_a_preflight(serve: Serve) -> None:
    served = await serve(expose={"cors": {"methods": ["GET"]}}, streaming={"ingest": {"enabled": True}})
    for path in ("/invoke", "/runs?external=true"):
        async with served.client.post(path, json={}, headers={"Origin": OTHER}) as response:
            await error_of(response, 403, "FORBIDDEN")
    async with served.client.post("/invoke", json={}, headers={"Sec-Fetch-Site": "same-origin"}) as response:
        assert response.status == 200


METHODS: tuple[Method, ...] = ("*", "POST", "DELETE")


def of_page(method: str, origin: str | None, site: str | None, host: str = "tested") -> Any:
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": site}
    sent = {name: value for name, value in headers.items() if value is not None}
    return make_mocked_request(method, "/invoke", sent, transport=Mock())


@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "FOO"]),
    origin=st.sampled_from([ORIGIN, OTHER, "null", ""]) | st.none() | st.text("aph:/.x", max_size=9),
    site=st.sampled_from(["cross-site", "same-site", "same-origin", "none", ""]) | st.none(),
    origins=st.lists(st.sampled_from(["*", ORIGIN, "http://own.example"]), max_size=2),
    methods=st.lists(st.sampled_from(METHODS), max_size=2),
)
def test_request_is_refused_exactly_if_cors_forbids_its_page(
    method: str, origin: str | None, site: str | None, origins: list[str], methods: list[Method]
) -> None:
    protection = CrossOriginProtection(ExposeSpec(cors=CorsSpec(origins=origins, methods=methods)))
    is_page = (origin, site) != (None, None) and site not in ("same-origin", "none")
    allowed = ("*" in origins or origin in origins) and ("*" in methods or method in methods)
    refused = method not in ("GET", "HEAD", "OPTIONS") and is_page and not allowed
    try:
        protection.check(of_page(method, origin, site))
    except Forbidden:
        assert refused
    else:
        assert not refused


# Browsers send Sec-Fetch-Site to https:// and to localhost only, and older ones nowhere.
SAME = [
    ("https://agent.example", "agent.example", True),
    ("https://agent.example:8443", "Agent.Example:8443", True),
    ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
    ("http://[::1]:8080", "[::1]:8080", True),
    ("http://192.168.1.5:8080", "192.168.1.5:8080", True),
    ("http://localhost:8080", "localhost:8080", True),
    ("http://own.example:8080", "own.example:8080", True),
    ("http://agent.example", "agent.example", False),  # may be rebound
    ("http://192.168.1.5.evil.example:8080", "192.168.1.5.evil.example:8080", False),
    ("http://localhost:3000", "localhost:8080", False),
    ("https://agent.example", "agent.example.evil.example", False),
    ("null", "null", False),
    ("https://", "", False),
]


@pytest.mark.parametrize(("origin", "host", "own"), SAME)
def test_own_page_is_recognized_without_fetch_metadata(origin: str, host: str, *, own: bool) -> None:
    protection = CrossOriginProtection(ExposeSpec(cors=CorsSpec(origins=[ORIGIN])))
    protection.listen_on("own.example", ["192.168.1.5"])
    asked = of_page("POST", origin, None, host)
    if own:
        protection.check(asked)
    else:
        with pytest.raises(Forbidden):
            protection.check(asked)


LOOPBACK = [["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["127.0.1.1"], ["::ffff:127.0.0.1"]]
LOCAL_HOSTS = [
    *("localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8080", "127.9.9.9:80", "[::1]", "[::1]:8080"),
    *("own.example", "Own.Example:65535", "app.example", "app.example:8080"),
]
REBOUND_HOSTS = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:8080", ""),
    *(
        "10.0.0.1:8080",
        "[::2]:8080",
        "evil.example:127.0.0.1",
        "[evil.example]:8080",
        "localhost@evil.example",
    ),
    *("::1", "*", "0x7f.1", "localhost,evil.example"),
]


@pytest.mark.parametrize("addresses", LOOPBACK, ids=str)
@pytest.mark.parametrize("origins", [["*", ORIGIN], [ORIGIN]], ids=str)
def test_host_is_checked_on_loopback(addresses: list[str], origins: list[str]) -> None:
    protection = CrossOriginProtection(ExposeSpec(cors=CorsSpec(origins=origins)))
    protection.listen_on("Own.example", addresses)
    for method in ("GET", "POST", "OPTIONS"):
        for host in LOCAL_HOSTS:
            protection.check(of_page(method, None, None, host))
        for host in REBOUND_HOSTS:
            with pytest.raises(MisdirectedRequest):
                protection.check(of_page(method, None, None, host))


@pytest.mark.parametrize(
    "addresses", [["0.0.0.0"], ["::"], ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], []], ids=str
)
def test_host_is_not_checked_elsewhere(addresses: list[str]) -> None:
    protection = CrossOriginProtection(ExposeSpec())
    protection.listen_on("0.0.0.0", addresses)
    for host in LOCAL_HOSTS + REBOUND_HOSTS:
        protection.check(of_page("POST", None, None, host))


async def test_rebound_name_reaches_nothing(serve: Serve) -> None:
    served = await serve(expose={"streaming": "websocket"})
    served.service.cross_origin.listen_on("localhost", ["127.0.0.1"])
    for path in ("/", "/health", "/runs", "/invoke/ws", "/nowhere"):
        async with served.client.get(path, headers={"Host": "evil.example"}) as response:
            assert "Host" in (await error_of(response, 421, "MISDIRECTED_REQUEST"))["error"]
    async with served.client.post("/invoke", json={}, headers={"Host": "evil.example"}) as response:
        await error_of(response, 421, "MISDIRECTED_REQUEST")
    async with wire(served) as connection:
        await connection.send(b"GET /health HTTP/1.0\r\n\r\n")
        line, _ = await connection.head()
        assert line.endswith("200 OK")


async def test_pages_are_refused_with_the_same_words_for_every_run(serve: Serve) -> None:
    served = await serve(**RESTRICTED)
    await served.start(run_id="r")
    await served.finished("r")
    texts = []
    for run_id in ("r", "nobody"):
        async with served.client.delete(f"/runs/{run_id}", headers={"Origin": OTHER}) as response:
            texts.append(await response.text())
    assert texts[0] == texts[1]
