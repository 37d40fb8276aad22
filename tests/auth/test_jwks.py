"""Keys of an issuer that rotates them, is slow, wrong or away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from dockrion.auth.authenticator import Roles
from dockrion.auth.jwt_tokens import JwtAuthenticator
from dockrion.dockfile.auth_structs import JwtSpec
from dockrion.errors import ServiceUnavailable, Unauthorized
from tests.auth.clock import Clock
from tests.auth.issuers import (
    AUDIENCE,
    ISSUER,
    TROUBLE,
    WRONG,
    Answer,
    IssuerServer,
    away,
    issue_token,
    signing_key,
    slow,
    trouble,
)
from tests.auth.refusals import refusal
from tests.support import wait_until

NEW = signing_key("RS256", "new")
CURVE = signing_key("ES256", "curve")


def names(answer: Answer) -> str:
    return str(answer.__name__)


@pytest.fixture
async def tokens(served: IssuerServer) -> AsyncIterator[JwtAuthenticator]:
    spec = JwtSpec(jwks_url=served.jwks_url, issuer=ISSUER, audience=AUDIENCE, algorithms=["RS256", "ES256"])
    tokens = JwtAuthenticator(spec, None, Roles([]))
    yield tokens
    await tokens.aclose()


async def comes_in(tokens: JwtAuthenticator, token: str) -> bool:
    return (await tokens.authenticate(token)).user_id == "user-1"


async def test_keys_are_fetched_when_they_are_wanted_and_kept(
    tokens: JwtAuthenticator, served: IssuerServer
) -> None:
    served.keys = [signing_key(), CURVE]
    assert served.asked == 0
    for _ in range(3):
        assert await comes_in(tokens, issue_token())
        assert await comes_in(tokens, issue_token(signed_by=CURVE))
    assert await comes_in(tokens, issue_token(headers={"kid": None}))
    assert served.asked == 1


async def test_many_who_come_at_once_cause_one_fetch(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    token = issue_token()
    assert all(await asyncio.gather(*(comes_in(tokens, token) for _ in range(50))))
    assert served.asked == 1


async def test_a_new_key_is_fetched_when_a_token_names_it(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await comes_in(tokens, issue_token())
    served.keys = [signing_key(), NEW]
    clock.passed += 11
    assert all(await asyncio.gather(*(comes_in(tokens, issue_token(signed_by=NEW)) for _ in range(20))))
    assert served.asked == 2


async def test_a_key_that_is_withdrawn_ends_with_the_set_that_had_it(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await comes_in(tokens, issue_token())
    served.keys = [NEW]
    clock.passed += 601
    assert await comes_in(tokens, issue_token())  # which is why it is fetched again
    await wait_until(lambda: served.asked == 2)
    assert await comes_in(tokens, issue_token(signed_by=NEW))
    await refusal(tokens, issue_token())


async def test_unknown_keys_are_no_flood_for_the_issuer(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await comes_in(tokens, issue_token())
    strangers = [issue_token(signed_by=NEW, headers={"kid": f"unknown-{n}"}) for n in range(30)]
    for moment in range(4):
        for token in strangers:
            await refusal(tokens, token)
        await asyncio.gather(*(refusal(tokens, token) for token in strangers))
        assert await comes_in(tokens, issue_token())
        assert served.asked == 1 + moment
        clock.passed += 11


async def test_algorithms_that_are_not_asked_for_cause_no_fetch(
    tokens: JwtAuthenticator, served: IssuerServer
) -> None:
    await refusal(tokens, issue_token(signed_by=signing_key("ES384")))
    await refusal(tokens, issue_token(signed_by="x" * 64))
    await refusal(tokens, "no token")
    assert served.asked == 0


async def test_a_key_is_good_for_its_own_algorithm(tokens: JwtAuthenticator, served: IssuerServer) -> None:
    served.keys = [signing_key(), CURVE]
    for forged in (
        issue_token(signed_by=CURVE, headers={"kid": "first"}),
        issue_token(headers={"kid": "curve"}),
        issue_token(signed_by=NEW, headers={"kid": "first"}),
    ):
        await refusal(tokens, forged)


@pytest.mark.parametrize("answer", TROUBLE, ids=names)
async def test_without_keys_nobody_comes_in_until_the_issuer_is_back(
    answer: Answer, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    with trouble(served, answer):
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                await tokens.authenticate(issue_token())
    assert served.asked <= 2
    clock.passed += 11
    assert await comes_in(tokens, issue_token())


@pytest.mark.parametrize("answer", TROUBLE, ids=names)
async def test_the_last_good_keys_are_kept_while_the_issuer_is_in_trouble(
    answer: Answer, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await comes_in(tokens, issue_token())
    with trouble(served, answer):
        for _ in range(3):
            clock.passed += 700
            assert await comes_in(tokens, issue_token())
            await refusal(tokens, issue_token(signed_by=NEW))
    served.keys = [NEW]
    clock.passed += 700
    assert await comes_in(tokens, issue_token(signed_by=NEW))


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "eA"}], None, {"kty": "RSA"}])
async def test_a_set_without_keys_is_none(
    keys: object, tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    async def nothing(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": keys})

    served.misbehave = nothing
    with pytest.raises(ServiceUnavailable):
        await tokens.authenticate(issue_token())
    served.misbehave = None
    clock.passed += 11
    assert await comes_in(tokens, issue_token())
    served.misbehave = nothing
    clock.passed += 700
    assert await comes_in(tokens, issue_token())


async def test_those_with_known_keys_do_not_wait_for_a_slow_issuer(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    assert await comes_in(tokens, issue_token())
    served.misbehave = slow
    clock.passed += 700
    waiting = asyncio.create_task(tokens.authenticate(issue_token(signed_by=NEW)))
    await wait_until(lambda: served.asked == 2)
    async with asyncio.timeout(1):
        assert await comes_in(tokens, issue_token())
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait((waiting,))


async def test_whoever_leaves_does_not_stop_the_fetch_for_the_others(
    tokens: JwtAuthenticator, served: IssuerServer
) -> None:
    go = asyncio.Event()

    async def later(_request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"keys": [signing_key().published]})

    served.misbehave = later
    leaving, staying = (asyncio.create_task(comes_in(tokens, issue_token())) for _ in range(2))
    await wait_until(lambda: served.asked == 1)
    leaving.cancel()
    await asyncio.wait((leaving,))
    go.set()
    assert await staying
    assert served.asked == 1


async def test_closing_ends_a_fetch_that_is_on_its_way(served: IssuerServer) -> None:
    tokens = JwtAuthenticator(JwtSpec(jwks_url=served.jwks_url), None, Roles([]))
    served.misbehave = slow
    waiting = asyncio.create_task(tokens.authenticate(issue_token()))
    await wait_until(lambda: served.asked == 1)
    async with asyncio.timeout(1):
        await tokens.aclose()
        await asyncio.wait((waiting,))


async def test_wrong_answers_never_let_a_stranger_in(
    tokens: JwtAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    for answer in (*WRONG, away):
        served.misbehave = answer
        clock.passed += 11
        for token in (issue_token(), issue_token(signed_by=NEW), ""):
            with pytest.raises((ServiceUnavailable, Unauthorized)):
                await tokens.authenticate(token)
