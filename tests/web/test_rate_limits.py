"""Rate limits over HTTP: who is counted, what counts, and the headers."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.auth.issuers import issue_token
from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import AuthMode, Headers, api_keys, bearer, public_key
from tests.web.helpers import error_of
from tests.web.test_ownership import key, replicas

SAID = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
EVERY_BACKEND = pytest.mark.usefixtures("every_backend")


def echo(payload: Any) -> Any:
    return payload


async def ask(
    served: Served, path: str = "/invoke", headers: Headers | None = None, method: str = "POST", **body: Any
) -> aiohttp.ClientResponse:
    given = body or ({"json": {}} if method == "POST" else {})
    async with served.client.request(method, path, headers=headers, **given) as response:
        await response.read()
        return response


async def with_limits(
    serve: Serve, mode: AuthMode, folder: Path, limits: dict[str, str], **sections: Any
) -> tuple[Served, Served]:
    return await replicas(serve, echo, **sections, **mode.sections(folder, rate_limits=limits))


@EVERY_BACKEND
async def test_limit_is_exact_over_all_replicas(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        here, there = await with_limits(serve, mode, tmp_path, {"default": "7/hour"})
    pending = [
        ask(served, path, key("owner"))
        for served in (here, there)
        for path in ("/invoke", "/invoke/stream", "/runs")
        for _ in range(6)
    ]
    responses = await asyncio.gather(*pending)
    statuses = Counter(response.status for response in responses)
    assert statuses[429] == len(pending) - 7
    assert statuses[200] + statuses[202] == 7
    admitted = [each for each in responses if each.status != 429]
    assert sorted(int(each.headers["RateLimit-Remaining"]) for each in admitted) == list(range(7))
    assert (await ask(there, headers=key("other"))).status == 200


@EVERY_BACKEND
async def test_counted_responses_have_rate_limit_headers(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        here, there = await with_limits(serve, mode, tmp_path, {"owner": "2/m"})
    for served, path, left in ((here, "/runs", "1"), (there, "/invoke/stream", "0")):
        response = await ask(served, path, key("owner"))
        assert response.status in (200, 202)
        assert (response.headers["RateLimit-Limit"], response.headers["RateLimit-Remaining"]) == ("2", left)
        assert 1 <= int(response.headers["RateLimit-Reset"]) <= 60
    async with there.client.post("/invoke", json={}, headers=key("owner")) as refused:
        body = await error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
    assert [refused.headers[name] for name in SAID[:2]] == ["2", "0"]
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert body["error"].startswith("2 requests in 60 s are allowed")


async def test_requests_that_start_no_work_do_not_count(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served, _ = await with_limits(
            serve,
            mode,
            tmp_path,
            {"default": "1/day"},
            io_schema={"input": {"required": ["n"], "properties": {"n": {"type": "integer"}}}},
        )
    free: list[tuple[str, str, dict[str, Any]]] = [
        *(("GET", path, {}) for path in ("/", "/health", "/ready", "/metrics", "/schema", "/info", "/runs")),
        *(("GET", path, {}) for path in ("/runs/unknown", "/runs/unknown/events", "/nowhere")),
        *(("POST", path, {"data": b"{"}) for path in ("/invoke", "/invoke/stream", "/runs")),
        *(("POST", path, {"json": {"n": "x"}}) for path in ("/invoke", "/invoke/stream", "/runs")),
        ("POST", "/runs?run_id=-", {"json": {"n": 1}}),
        ("POST", "/runs?external=true", {"json": {"n": 1}}),
        ("POST", "/invoke", {"data": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("DELETE", "/runs/unknown", {}),
        ("POST", "/runs/unknown/token", {"json": {}}),
    ]
    for method, path, body in free:
        headers = key("owner") | body.pop("headers", {"Content-Type": "application/json"})
        if "json" in body:
            headers.pop("Content-Type")
        async with served.client.request(method, path, headers=headers, **body) as response:
            assert response.status != 429
            assert not [name for name in SAID if name in response.headers], path
    for headers in ({}, {"X-API-Key": "wrong"}, key("deployer")):
        assert (await ask(served, headers=headers, json={"n": 1})).status in (401, 403)
    assert (await ask(served, headers=key("owner"), json={"n": 1})).status == 200
    assert (await ask(served, headers=key("owner"), json={"n": 1})).status == 429
    assert (await ask(served, "/runs", headers=key("owner"), method="GET")).status == 200


def member(user: str, *roles: str, **claims: Any) -> Headers:
    return bearer(issue_token(sub=user, roles=list(roles), **claims))


LIMITS = {"default": "1/h", "bronze": "2/h", "silver": "1/m", "gold": "9/s"}


@pytest.mark.parametrize(
    ("roles", "limit"),
    [
        ([], "1"),
        (["unknown"], "1"),
        (["default"], "1"),
        (["bronze"], "2"),
        (["bronze", "unknown"], "2"),
        (["bronze", "silver"], "1"),  # one a minute is more than two an hour
        (["bronze", "silver", "gold"], "9"),
        (["gold", "bronze"], "9"),
    ],
)
async def test_most_generous_role_applies(serve: Serve, tmp_path: Path, roles: list[str], limit: str) -> None:
    async with public_key() as mode:
        served, _ = await with_limits(serve, mode, tmp_path, LIMITS)
        served_all = await serve(echo, **mode.sections(tmp_path, roles=False, rate_limits=LIMITS))
    assert (await ask(served_all, headers=member("ann", *roles))).headers["RateLimit-Limit"] == limit
    assert (
        await ask(served, headers=member("ann", *roles))
    ).status == 403  # rate limits grant no permissions


async def test_without_a_default_other_roles_are_unlimited(serve: Serve, tmp_path: Path) -> None:
    async with public_key() as mode:
        served = await serve(echo, **mode.sections(tmp_path, roles=False, rate_limits={"bronze": "1/h"}))
    for _ in range(5):
        response = await ask(served, headers=member("ann", "default"))
        assert response.status == 200
        assert not [name for name in SAID if name in response.headers]


async def test_caller_is_counted_over_all_tokens_and_addresses(serve: Serve, tmp_path: Path) -> None:
    async with public_key() as mode:
        limits = {"default": "2/h"}
        served = await serve(echo, **mode.sections(tmp_path, roles=False, rate_limits=limits))
    sent = [
        member("ann", jti="1"),
        member("ann", "admin", jti="2") | {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.2"},
        member("ann", jti="3", email="other@example") | {"X-Real-IP": "10.0.0.3", "X-API-Key": "any"},
    ]
    assert [(await ask(served, headers=headers)).status for headers in sent] == [200, 200, 429]
    assert (await ask(served, headers=member("bob"))).status == 200


@EVERY_BACKEND
async def test_open_service_counts_addresses(serve: Serve) -> None:
    auth = {"mode": "none", "rate_limits": {"default": "2/h"}}
    here, there = await replicas(serve, echo, auth=auth)
    sent = [{}, {"X-Forwarded-For": "10.0.0.1"}, {"X-API-Key": "any"}, {"Authorization": "Bearer any"}]
    statuses = [
        (await ask(served, headers=headers)).status
        for served, headers in zip((here, there) * 2, sent, strict=True)
    ]
    assert statuses == [200, 200, 429, 429]


async def test_scripts_may_read_the_rate_limit_headers(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served, _ = await with_limits(serve, mode, tmp_path, {"default": "1/h"})
    for expected in (200, 429):
        response = await ask(served, headers=key("owner") | {"Origin": "https://app.example"})
        assert response.status == expected
        exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed >= {*SAID, "Retry-After"}
