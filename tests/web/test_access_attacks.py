"""Requests that try to bypass authentication, byte by byte."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import api_keys, bearer, key_of, public_key, token_of
from tests.web.helpers import error_of
from tests.web.wire import wire

KEY, OTHER = key_of("owner"), key_of("auditor")
RUN = "made-by-owner"
REFUSED, BAD, NOWHERE = "401", "400", "404"


@pytest.fixture
async def served(serve: Serve, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve callers with an API key, with a run of `owner`."""
    async with api_keys() as mode:
        served = await serve(**mode.sections(tmp_path))
        async with served.client.post(f"/runs?run_id={RUN}", json={}, headers=mode.key("owner")) as response:
            assert response.status == 202
        yield served


async def status(served: Served, line: str, *headers: str | bytes) -> str:
    """Send a request, and return the status of its response, which must expose no internals."""
    lines = [line, "Host: tested", *headers, "Connection: close", "", ""]
    async with wire(served) as connection:
        await connection.send(
            b"\r\n".join(each if isinstance(each, bytes) else each.encode("latin-1") for each in lines)
        )
        said = (await connection.until(b"\r\n\r\n")).decode()
        with suppress(ConnectionError):  # a request that is too long is not read to its end
            said += (await connection.rest()).decode("utf-8", "replace")
    assert "Traceback" not in said
    assert KEY not in said
    return said.split(" ", 2)[1]


SENT: dict[str, tuple[str, list[str | bytes]]] = {
    "two bearers, right first": (REFUSED, [f"Authorization: Bearer {KEY}", "Authorization: Bearer no"]),
    "two bearers, right last": (REFUSED, ["Authorization: Bearer no", f"Authorization: Bearer {KEY}"]),
    "two bearers, both right": (REFUSED, [f"Authorization: Bearer {KEY}", f"authorization: Bearer {KEY}"]),
    "a bearer and another scheme": (REFUSED, [f"Authorization: Bearer {KEY}", "Authorization: Basic eDp5"]),
    "two keys, right first": (REFUSED, [f"X-API-Key: {KEY}", "X-API-Key: no"]),
    "two keys, right last": (REFUSED, ["X-API-Key: no", f"x-api-key: {KEY}"]),
    "two keys, one empty": (REFUSED, ["X-API-Key:", f"X-API-Key: {KEY}"]),
    "two keys and a bearer": (REFUSED, ["X-API-Key:", "X-API-Key:", f"Authorization: Bearer {KEY}"]),
    "a wrong key and a bearer": (REFUSED, ["X-API-Key: no", f"Authorization: Bearer {KEY}"]),
    "keys in a list": (REFUSED, [f"X-API-Key: no, {KEY}"]),
    "another scheme": (REFUSED, [f"Authorization: Basic {KEY}"]),
    "no scheme": (REFUSED, [f"Authorization: {KEY}"]),
    "a scheme alone": (REFUSED, ["Authorization: Bearer"]),
    "a scheme twice": (REFUSED, [f"Authorization: Bearer Bearer {KEY}"]),
    "a scheme and no space": (REFUSED, [f"Authorization: Bearer{KEY}"]),
    "a scheme and a tab": (REFUSED, [f"Authorization: Bearer\t{KEY}"]),
    "a scheme and a comma": (REFUSED, [f"Authorization: Bearer,{KEY}"]),
    "a space of another alphabet": (REFUSED, [f"Authorization: Bearer {KEY}".encode() + b"\xc2\xa0"]),
    "quotes": (REFUSED, [f'X-API-Key: "{KEY}"']),
    "percent-encoded": (REFUSED, [f"X-API-Key: {KEY.replace(' ', '%20')}"]),
    "upper case": (REFUSED, [f"X-API-Key: {KEY.upper()}"]),
    "a byte more": (REFUSED, [f"X-API-Key: {KEY}".encode() + b"\xff"]),
    "letters of another alphabet": (REFUSED, [f"X-API-Key: {KEY.replace('o', chr(0x43E))}".encode()]),
    "a proxy's word": (REFUSED, [f"Proxy-Authorization: Bearer {KEY}", "X-Forwarded-User: owner"]),
    "a cookie": (REFUSED, [f"Cookie: X-API-Key={KEY}", f"X-Api_Key: {KEY}"]),
    "NUL": (BAD, [f"X-API-Key: {KEY}\0"]),
    "NUL before": (BAD, [f"X-API-Key: \0{KEY}"]),
    "a folded line": (BAD, ["X-API-Key: the key of owner", " that nobody guesses"]),
    "a space before the colon": (BAD, [f"X-API-Key : {KEY}"]),
    "a bare CR": (BAD, [f"X-Other: a\rX-API-Key: {KEY}"]),
    "a megabyte": (BAD, ["X-API-Key: " + "x" * 1024 * 1024]),
    "a megabyte of bearer": (BAD, ["Authorization: Bearer " + "x" * 1024 * 1024]),
    "a key and a bearer of another": ("200", [f"X-API-Key: {KEY}", f"Authorization: Bearer {OTHER}"]),
    "odd case and spaces": ("200", [f"aUTHORIZATION:   bEARER    {KEY}  "]),
    "an empty key and a bearer": ("200", ["X-API-Key: ", f"Authorization: Bearer {KEY}"]),
}


async def test_only_one_well_formed_credential_is_accepted(served: Served) -> None:
    for sent, (expected, headers) in SENT.items():
        assert await status(served, "GET /info HTTP/1.1", *headers) == expected, sent


async def test_api_key_takes_precedence_over_a_bearer_token(served: Served) -> None:
    for key, bearer_key, expected in ((KEY, OTHER, "200"), (OTHER, KEY, "403")):
        headers = [f"X-API-Key: {key}", f"Authorization: Bearer {bearer_key}"]
        assert await status(served, "GET /metrics HTTP/1.1", *headers) == expected


TARGETS: dict[str, list[str]] = {
    NOWHERE: [
        *("/health/../info", "/health/%2e%2e/info", "/health/..%2finfo", "/./info", "/%2e/info", "/info/."),
        *("//info", "///info", "//health/info", "/info//", "/INFO", "/Info", "/info;/health", "/info%00"),
        *("/info%20", "/info\\..\\health", "/%2finfo", "/runs/x/../../info", "//metrics", "/metrics//"),
        *(
            "/health/../info/",
            "/health/%2e%2e/info/",
            "/./info/",
            "//info/",
            "/info%2f",
            "/%2finfo/",
            "/;/info/",
        ),
        *(
            "/METRICS",
            "/%2fmetrics",
            "/runs//events",
            "http://evil.test/health/../info",
            "http://tested//info",
        ),
    ],
    REFUSED: [
        *("/info/", "/metrics/", f"/runs/{RUN}/", f"/runs/{RUN}/events/", "/%69nfo/", "/info/?/health"),
        *("/%69nfo", "/info#/health", "/info?/health", "/info?token=x", "/%6detrics", "/schema?api_key=x"),
        *(f"/runs/{RUN}?token=x", "/runs?token=x", "/metrics?token=x", "/runs/%2e%2e/events", "/runs/%zz"),
        *(f"/runs/{RUN}%2fevents", f"/runs/{RUN}%00", f"/runs/{RUN}/events", f"/runs/{RUN}/%65vents"),
        *(
            f"/runs/{RUN}/events?Token=x",
            "http://tested/info",
            "http://evil.test/info",
            "http://health/metrics",
        ),
    ],
    BAD: ["info", "*", "http:///info", "tested:80"],
}


async def test_no_spelling_of_a_path_bypasses_auth(served: Served) -> None:
    for expected, targets in TARGETS.items():
        for target in targets:
            assert await status(served, f"GET {target} HTTP/1.1") == expected, target


async def test_no_method_bypasses_auth(served: Served) -> None:
    for target in (target for targets in TARGETS.values() for target in targets):
        for method in ("HEAD", "POST", "DELETE", "PUT", "TRACE", "CONNECT", "FOO"):
            got = await status(served, f"{method} {target} HTTP/1.1", "Content-Length: 0")
            assert got in (BAD, REFUSED, NOWHERE, "405"), (method, target)


TRICKS = {
    "override": ["X-HTTP-Method-Override: GET", "X-HTTP-Method: GET", "X-Method-Override: GET"],
    "rewritten": ["X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Forwarded-Prefix: /health"],
    "websocket": [
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
    "http2": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
    "preflight": ["Origin: https://app.example", "Access-Control-Request-Method: GET"],
    "local": ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=health"],
    "identity": ["X-Dockrion-User-Id: owner", "X-Dockrion-Roles: owner", "X-Remote-User: owner"],
}


async def test_no_header_bypasses_auth(served: Served) -> None:
    asked = ("GET /info", "HEAD /info", f"GET /runs/{RUN}", f"GET /runs/{RUN}/events", "GET /metrics")
    for trick, headers in TRICKS.items():
        for target in asked:
            assert await status(served, f"{target} HTTP/1.1", *headers) == REFUSED, (trick, target)
        got = await status(served, "OPTIONS /info HTTP/1.1", *headers)
        assert got in ("200", "204"), trick  # public routes only


@pytest.mark.parametrize("version", ["1.0", "0.9"])
async def test_old_http_versions_bypass_nothing(served: Served, version: str) -> None:
    assert await status(served, f"GET /info HTTP/{version}") in (REFUSED, BAD)


async def test_connection_does_not_remember_an_authenticated_request(served: Served) -> None:
    async with wire(served) as connection:
        await connection.ask("GET", "/info", {"X-API-Key": KEY})
        await connection.ask("GET", "/info")
        for expected in ("200", "401"):
            line, headers = await connection.head()
            assert line.split(" ")[1] == expected
            await connection.content(headers)


async def test_unauthenticated_request_is_refused_before_its_body_is_read(served: Served) -> None:
    async with wire(served) as connection:
        await connection.send(
            b"POST /invoke HTTP/1.1\r\nHost: tested\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\n\r\n{"
        )
        line, _ = await connection.head()
        assert line == "HTTP/1.1 401 Unauthorized"


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
async def test_no_other_text_passes_for_the_key(served: Served, name: str) -> None:
    texts = st.text(st.characters(min_codepoint=32, blacklist_characters="\x7f"), max_size=40)
    examples: list[str] = []

    @given(texts | texts.map(lambda text: f"{KEY}{text}") | texts.map(lambda text: f"{text}{KEY}"))
    @settings(max_examples=30, database=None, suppress_health_check=list(HealthCheck))
    def collect(text: str) -> None:
        examples.append(text)

    collect()
    for text in examples:
        if text.strip() == KEY:
            continue
        value = f"Bearer {text}" if name == "Authorization" else text
        sent = f"{name}: {value}".encode("utf-8", "surrogatepass")
        assert await status(served, "GET /info HTTP/1.1", sent) in (REFUSED, BAD)


async def test_token_outside_the_authorization_header_is_refused(serve: Serve, tmp_path: Path) -> None:
    async with public_key() as mode:
        served = await serve(**mode.sections(tmp_path))
    token = token_of("owner")
    tried: list[tuple[str, dict[str, str]]] = [
        (f"/info?access_token={token}", {}),
        (f"/info?token={token}", {}),
        (f"/runs/some/events?token={token}", {}),
        ("/info", {"X-API-Key": token}),
        ("/info", {"Cookie": f"access_token={token}"}),
        ("/info", {"Authorization": f"JWT {token}"}),
        ("/info", {"Authorization": f"Bearer {token}, Bearer {token}"}),
        ("/info", {"Authorization": f"Bearer {token}="}),
        ("/info", {"Authorization": f"Bearer {token} "[:-2]}),
    ]
    for path, headers in tried:
        async with served.client.get(path, headers=headers) as response:
            await error_of(response, 401, "AUTH_ERROR")
    async with served.client.get("/info", headers=bearer(token)) as response:
        assert response.status == 200


@pytest.mark.parametrize("header", ["Authorization", "authorization"])
@pytest.mark.parametrize("allow_bearer", [True, False])
async def test_authorization_can_carry_keys_with_and_without_a_scheme(
    serve: Serve, tmp_path: Path, header: str, *, allow_bearer: bool
) -> None:
    secret = "a key that nobody guesses"
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY='{secret}'\n")
    served = await serve(auth={"api_keys": {"header": header, "allow_bearer": allow_bearer}})
    sent = {
        secret: 200,
        f"Bearer {secret}": 200 if allow_bearer else 401,
        f"Basic {secret}": 401,
        "Bearer x": 401,
    }
    for value, expected in sent.items():
        async with served.client.get("/info", headers={"Authorization": value}) as response:
            assert response.status == expected, value
