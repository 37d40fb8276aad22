"""Token introspection: which requests are sent, how results are cached, and failures of the issuer."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from dockrion.auth import introspection
from dockrion.auth import issuer as issuer_module
from dockrion.auth.authenticator import ALL_PERMISSIONS, Roles
from dockrion.auth.introspection import IntrospectionAuthenticator
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec, OAuth2Spec, RoleSpec
from dockrion.errors import Forbidden, ServiceUnavailable
from tests.auth.clock import Clock
from tests.auth.issuers import FAILURES, Handler, IssuerServer, failing_with, slow
from tests.auth.refusals import refusal
from tests.loop_clock import advance
from tests.support import TIMEOUT_SECONDS, wait_until

CLIENT = ("dockrion", "s3cret: +%ä")


def introspecting(
    served: IssuerServer,
    *,
    scopes: list[str] | None = None,
    client: tuple[str, str] | None = CLIENT,
    claims: ClaimsSpec | None = None,
    roles: list[RoleSpec] | None = None,
) -> IntrospectionAuthenticator:
    spec = OAuth2Spec(introspection_url=served.introspection_url, required_scopes=scopes or [])
    return IntrospectionAuthenticator(spec, client, claims or ClaimsSpec(), Roles(roles or []))


@pytest.fixture
async def authenticator(served: IssuerServer) -> AsyncIterator[IntrospectionAuthenticator]:
    served.client = CLIENT
    authenticator = introspecting(served)
    yield authenticator
    assert not authenticator._requests
    await authenticator.aclose()


async def is_accepted(authenticator: IntrospectionAuthenticator, token: str) -> bool:
    return (await authenticator.authenticate(token)).user_id == "user-1"


async def test_active_token_authenticates_its_owner(served: IssuerServer) -> None:
    end = int(time.time()) + 100
    token = served.activate("t", exp=end, roles=["ops"], org={"id": "o"}, email="u@h")
    authenticator = introspecting(
        served,
        claims=ClaimsSpec(tenant_id="org.id"),
        roles=[RoleSpec(name="ops", permissions=["invoke"])],
        scopes=["read"],
    )
    assert await authenticator.authenticate(token) == Caller(
        user_id="user-1",
        email="u@h",
        roles=("ops",),
        permissions=frozenset({"invoke"}),
        scopes=("read", "write"),
        tenant_id="o",
        expires_at=end,
    )
    await authenticator.aclose()


async def test_token_without_expiry_is_valid_while_active(
    authenticator: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    caller = await authenticator.authenticate(served.activate("t", exp=None))
    assert (caller.expires_at, caller.permissions) == (None, ALL_PERMISSIONS)
    served.tokens.clear()
    clock.passed = 31
    await refusal(authenticator, "t")


BAD: dict[str, dict[str, Any]] = {
    "not active": {"active": False},
    "active as text": {"active": "true"},
    "active as a number": {"active": 1},
    "no member `active`": {"active": None},
    "no user id": {"sub": None},
    "empty user id": {"sub": ""},
    "expired": {"exp": 1},
    "expiry as text": {"exp": "never"},
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_tokens_get_the_error_of_an_unknown_one(
    name: str, authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    unknown = await refusal(authenticator, "unknown")
    assert await refusal(authenticator, served.activate("t", **BAD[name])) == unknown


@pytest.mark.parametrize("sent", ["", " ", "a b", "tok\nen", "tök", "\ud800", "nul\0", "x" * 16_385])
async def test_malformed_token_causes_no_request(
    sent: str, authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    served.activate(sent)
    await refusal(authenticator, sent)
    assert served.requests == 0


async def test_token_of_any_characters_is_sent_unchanged(
    authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    token = served.activate("a&token=b%20+c=/.~:;" + "x" * 16_000)
    assert await is_accepted(authenticator, token)


async def test_missing_scopes_are_forbidden(served: IssuerServer) -> None:
    authenticator = introspecting(served, scopes=["read", "admin"])
    for _ in range(2):
        with pytest.raises(Forbidden, match="admin, read"):
            await authenticator.authenticate(served.activate("t"))
    assert served.requests == 1
    assert await is_accepted(authenticator, served.activate("u", scope="admin other read"))
    await authenticator.aclose()


async def test_active_token_is_introspected_every_30_s(
    authenticator: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    token = served.activate("t")
    for moment in range(3):
        for _ in range(5):
            assert await is_accepted(authenticator, token)
        assert served.requests == 1 + moment
        clock.passed += 31


async def test_cached_token_expires(
    authenticator: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    token = served.activate("t", exp=int(time.time()) + 10)
    assert await is_accepted(authenticator, token)
    clock.passed = 11
    await refusal(authenticator, token)


async def test_inactive_token_is_cached(
    authenticator: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    for moment in range(3):
        for _ in range(20):
            await refusal(authenticator, "bad")
        assert served.requests == 1 + moment
        clock.passed += 6
    served.activate("bad")
    assert await is_accepted(authenticator, "bad")


async def test_inactive_tokens_do_not_evict_active_ones(
    served: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "_MAX_CACHED", 5)
    authenticator = introspecting(served)
    token = served.activate("good")
    await authenticator.authenticate(token)
    for number in range(20):
        await refusal(authenticator, f"bad-{number}")
    asked = served.requests
    assert await is_accepted(authenticator, token)
    assert served.requests == asked
    assert len(authenticator._inactive) == 5
    await authenticator.aclose()


@pytest.mark.parametrize("good", [True, False])
async def test_concurrent_requests_share_one_introspection(
    authenticator: IntrospectionAuthenticator, served: IssuerServer, *, good: bool
) -> None:
    if good:
        served.activate("t")
        callers = await asyncio.gather(*(authenticator.authenticate("t") for _ in range(50)))
        assert {caller.user_id for caller in callers} == {"user-1"}
    else:
        await asyncio.gather(*(refusal(authenticator, "t") for _ in range(50)))
    assert served.requests == 1


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: str(answer.__name__))
async def test_failing_issuer_is_service_unavailable(
    answer: Handler, authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    token = served.activate("t")
    with failing_with(served, answer):
        results = await asyncio.gather(
            *(authenticator.authenticate(token) for _ in range(5)), return_exceptions=True
        )
    assert {type(each) for each in results} == {ServiceUnavailable}
    assert await is_accepted(authenticator, token)


async def test_wrong_client_credentials_are_service_unavailable(served: IssuerServer) -> None:
    served.client = CLIENT
    for client in (None, ("dockrion", "wrong"), ("other", CLIENT[1])):
        authenticator = introspecting(served, client=client)
        with pytest.raises(ServiceUnavailable):
            await authenticator.authenticate(served.activate("t"))
        await authenticator.aclose()


async def test_concurrent_responses_are_not_mixed_up(
    authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    sent = [served.activate(f"token-{number}", sub=f"user-{number}") for number in range(40)]
    callers = await asyncio.gather(*(authenticator.authenticate(token) for token in sent))
    assert [caller.user_id for caller in callers] == [f"user-{number}" for number in range(40)]


async def test_cancelled_caller_does_not_cancel_the_shared_request(
    authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    go = asyncio.Event()

    async def later(_request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"active": True, "sub": "user-1"})

    served.handler = later
    leaving, staying = (asyncio.create_task(authenticator.authenticate("t")) for _ in range(2))
    await wait_until(lambda: served.requests == 1)
    leaving.cancel()
    await asyncio.wait((leaving,))
    go.set()
    assert (await staying).user_id == "user-1"
    assert served.requests == 1


async def test_failure_without_waiters_is_not_reported_as_unhandled(
    authenticator: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    with failing_with(served, slow):
        leaving = asyncio.create_task(authenticator.authenticate("t"))
        await wait_until(lambda: served.requests == 1)
        leaving.cancel()
        await asyncio.wait((leaving,))
        await advance(issuer_module._TOTAL_TIMEOUT)
        await wait_until(lambda: not authenticator._requests)


async def test_close_cancels_pending_requests(served: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_module, "_TOTAL_TIMEOUT", 6 * TIMEOUT_SECONDS)
    authenticator = introspecting(served)
    served.handler = slow
    waiting = asyncio.create_task(authenticator.authenticate("t"))
    await wait_until(lambda: served.requests == 1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await authenticator.aclose()
        await asyncio.wait((waiting,))
    assert not authenticator._requests
