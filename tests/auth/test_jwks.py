"""Keys of an issuer that rotates them, is slow, or fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from dockrion.auth import issuer as issuer_module
from dockrion.auth.authenticator import Roles
from dockrion.auth.jwt_tokens import JwtAuthenticator
from dockrion.dockfile.auth_structs import JwtSpec
from dockrion.errors import ServiceUnavailable, Unauthorized
from tests.auth.clock import Clock
from tests.auth.issuers import (
    AUDIENCE,
    FAILURES,
    ISSUER,
    MALFORMED,
    Handler,
    IssuerServer,
    crashing,
    failing_with,
    issue_token,
    signing_key,
    slow,
)
from tests.auth.refusals import refusal
from tests.support import TIMEOUT_SECONDS, wait_until

NEW = signing_key("RS256", "new")
CURVE = signing_key("ES256", "curve")


def names(answer: Handler) -> str:
    return str(answer.__name__)


@pytest.fixture
async def tokens(served: IssuerServer) -> AsyncIterator[JwtAuthenticator]:
    spec = JwtSpec(jwks_url=served.jwks_url, issuer=ISSUER, audience=AUDIENCE, algorithms=["RS256", "ES256"])
    tokens = JwtAuthenticator(spec, None, Roles([]))
    yield tokens
    await tokens.aclose()


async def is_accepted(tokens: JwtAuthenticator, token: str) -> bool:
    return (await tokens.authenticate(token)).user_id == "user-1"


async def test_keys_are_fetched_on_demand_and_cached(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    served.keys = [signing_key(), CURVE]
    assert served.requests == 0
    for _ in range(3):
        assert await is_accepted(tokens, issue_token())
        assert await is_accepted(tokens, issue_token(signed_by=CURVE))
    assert await is_accepted(tokens, issue_token(headers={"kid": None}))
    assert served.requests == 1


async def test_concurrent_callers_share_one_fetch(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    token = issue_token()
    assert all(await asyncio.gather(*(is_accepted(tokens, token) for _ in range(50))))
    assert served.requests == 1


async def test_unknown_key_id_causes_a_fetch(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await is_accepted(tokens, issue_token())
    served.keys = [signing_key(), NEW]
    clock.passed += 11
    assert all(await asyncio.gather(*(is_accepted(tokens, issue_token(signed_by=NEW)) for _ in range(20))))
    assert served.requests == 2


async def test_withdrawn_key_is_dropped_with_the_next_fetch(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await is_accepted(tokens, issue_token())
    served.keys = [NEW]
    clock.passed += 601
    assert await is_accepted(tokens, issue_token())  # which is why it is fetched again
    await wait_until(lambda: served.requests == 2)
    assert await is_accepted(tokens, issue_token(signed_by=NEW))
    await refusal(tokens, issue_token())


async def test_unknown_key_ids_do_not_flood_the_issuer(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await is_accepted(tokens, issue_token())
    strangers = [issue_token(signed_by=NEW, headers={"kid": f"unknown-{n}"}) for n in range(30)]
    for moment in range(4):
        for token in strangers:
            await refusal(tokens, token)
        await asyncio.gather(*(refusal(tokens, token) for token in strangers))
        assert await is_accepted(tokens, issue_token())
        assert served.requests == 1 + moment
        clock.passed += 11


async def test_rejected_algorithms_cause_no_fetch(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    await refusal(tokens, issue_token(signed_by=signing_key("ES384")))
    await refusal(tokens, issue_token(signed_by="x" * 64))
    await refusal(tokens, "no token")
    assert served.requests == 0


async def test_key_verifies_its_own_algorithm_only(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    served.keys = [signing_key(), CURVE]
    for forged in (
        issue_token(signed_by=CURVE, headers={"kid": "first"}),
        issue_token(headers={"kid": "curve"}),
        issue_token(signed_by=NEW, headers={"kid": "first"}),
    ):
        await refusal(tokens, forged)


@pytest.mark.parametrize("answer", FAILURES, ids=names)
async def test_without_keys_callers_are_refused_until_the_issuer_recovers(
    answer: Handler, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    with failing_with(served, answer):
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                await tokens.authenticate(issue_token())
    assert served.requests <= 2
    clock.passed += 11
    assert await is_accepted(tokens, issue_token())


@pytest.mark.parametrize("answer", FAILURES, ids=names)
async def test_last_good_keys_are_used_while_the_issuer_fails(
    answer: Handler, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await is_accepted(tokens, issue_token())
    with failing_with(served, answer):
        for _ in range(3):
            clock.passed += 700
            assert await is_accepted(tokens, issue_token())
            await refusal(tokens, issue_token(signed_by=NEW))
    served.keys = [NEW]
    clock.passed += 700
    assert await is_accepted(tokens, issue_token(signed_by=NEW))


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "eA"}], None, {"kty": "RSA"}])
async def test_empty_key_set_is_ignored(
    keys: object, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    async def nothing(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": keys})

    served.handler = nothing
    with pytest.raises(ServiceUnavailable):
        await tokens.authenticate(issue_token())
    served.handler = None
    clock.passed += 11
    assert await is_accepted(tokens, issue_token())
    served.handler = nothing
    clock.passed += 700
    assert await is_accepted(tokens, issue_token())


async def test_known_keys_do_not_wait_for_a_slow_issuer(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_module, "_TOTAL_TIMEOUT", 6 * TIMEOUT_SECONDS)
    assert await is_accepted(tokens, issue_token())
    served.handler = slow
    clock.passed += 700
    waiting = asyncio.create_task(tokens.authenticate(issue_token(signed_by=NEW)))
    await wait_until(lambda: served.requests == 2)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await is_accepted(tokens, issue_token())
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait((waiting,))


async def test_cancelled_caller_does_not_cancel_the_shared_fetch(
    tokens: JwtAuthenticator, served: IssuerServer
) -> None:
    go = asyncio.Event()

    async def later(_request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"keys": [signing_key().published]})

    served.handler = later
    leaving, staying = (asyncio.create_task(is_accepted(tokens, issue_token())) for _ in range(2))
    await wait_until(lambda: served.requests == 1)
    leaving.cancel()
    await asyncio.wait((leaving,))
    go.set()
    assert await staying
    assert served.requests == 1


async def test_close_cancels_a_pending_fetch(served: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_module, "_TOTAL_TIMEOUT", 6 * TIMEOUT_SECONDS)
    tokens = JwtAuthenticator(JwtSpec(jwks_url=served.jwks_url), None, Roles([]))
    served.handler = slow
    waiting = asyncio.create_task(tokens.authenticate(issue_token()))
    await wait_until(lambda: served.requests == 1)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await tokens.aclose()
        await asyncio.wait((waiting,))


async def test_malformed_key_sets_never_authenticate_anybody(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    for answer in (*MALFORMED, crashing):
        served.handler = answer
        clock.passed += 11
        for token in (issue_token(), issue_token(signed_by=NEW), ""):
            with pytest.raises((ServiceUnavailable, Unauthorized)):
                await tokens.authenticate(token)
