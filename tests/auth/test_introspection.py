"""Tokens that their issuer explains: whom it is asked about, how often, and what if it does not answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from dockrion.auth import introspection
from dockrion.auth.authenticator import ALL_PERMISSIONS, Roles
from dockrion.auth.introspection import IntrospectionAuthenticator
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec, OAuth2Spec, RoleSpec
from dockrion.errors import Forbidden, ServiceUnavailable
from tests.auth.clock import Clock
from tests.auth.issuers import TROUBLE, Answer, IssuerServer, slow, trouble
from tests.auth.refusals import refusal
from tests.support import wait_until

CLIENT = ("dockrion", "s3cret: +%ä")


def asking(
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
async def known(served: IssuerServer) -> AsyncIterator[IntrospectionAuthenticator]:
    served.client = CLIENT
    known = asking(served)
    yield known
    assert not known._requests
    await known.aclose()


async def comes_in(known: IntrospectionAuthenticator, token: str) -> bool:
    return (await known.authenticate(token)).user_id == "user-1"


async def test_an_active_token_is_its_owner(served: IssuerServer) -> None:
    end = int(time.time()) + 100
    token = served.explain("t", exp=end, roles=["ops"], org={"id": "o"}, email="u@h")
    known = asking(
        served,
        claims=ClaimsSpec(tenant_id="org.id"),
        roles=[RoleSpec(name="ops", permissions=["invoke"])],
        scopes=["read"],
    )
    assert await known.authenticate(token) == Caller(
        user_id="user-1",
        email="u@h",
        roles=("ops",),
        permissions=frozenset({"invoke"}),
        scopes=("read", "write"),
        tenant_id="o",
        expires_at=end,
    )
    await known.aclose()


async def test_a_token_without_an_end_is_good_while_it_is_active(
    known: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    caller = await known.authenticate(served.explain("t", exp=None))
    assert (caller.expires_at, caller.permissions) == (None, ALL_PERMISSIONS)
    served.tokens.clear()
    clock.passed = 31
    await refusal(known, "t")


BAD: dict[str, dict[str, Any]] = {
    "not active": {"active": False},
    "active in words": {"active": "true"},
    "active in numbers": {"active": 1},
    "nothing said": {"active": None},
    "nobody": {"sub": None},
    "nobody's name": {"sub": ""},
    "over": {"exp": 1},
    "an end in words": {"exp": "never"},
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_tokens_are_refused_with_the_words_of_an_unknown_one(
    name: str, known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    assert await refusal(known, served.explain("t", **BAD[name])) == await refusal(known, "unknown")


@pytest.mark.parametrize("sent", ["", " ", "a b", "tok\nen", "tök", "\ud800", "nul\0", "x" * 16_385])
async def test_what_is_no_token_is_not_asked_about(
    sent: str, known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    served.explain(sent)
    await refusal(known, sent)
    assert served.asked == 0


async def test_a_token_of_any_characters_is_asked_about_as_it_is(
    known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    token = served.explain("a&token=b%20+c=/.~:;" + "x" * 16_000)
    assert await comes_in(known, token)


async def test_scopes_that_are_missing_forbid(served: IssuerServer) -> None:
    known = asking(served, scopes=["read", "admin"])
    for _ in range(2):
        with pytest.raises(Forbidden, match="admin, read"):
            await known.authenticate(served.explain("t"))
    assert served.asked == 1
    assert await comes_in(known, served.explain("u", scope="admin other read"))
    await known.aclose()


async def test_a_good_token_is_asked_about_every_30_s(
    known: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    token = served.explain("t")
    for moment in range(3):
        for _ in range(5):
            assert await comes_in(known, token)
        assert served.asked == 1 + moment
        clock.passed += 31


async def test_a_token_is_never_good_past_its_end(
    known: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    token = served.explain("t", exp=int(time.time()) + 10)
    assert await comes_in(known, token)
    clock.passed = 11
    await refusal(known, token)


async def test_one_bad_token_is_no_flood_for_the_issuer(
    known: IntrospectionAuthenticator, served: IssuerServer, clock: Clock
) -> None:
    for moment in range(3):
        for _ in range(20):
            await refusal(known, "bad")
        assert served.asked == 1 + moment
        clock.passed += 6
    served.explain("bad")
    assert await comes_in(known, "bad")


async def test_bad_tokens_do_not_drive_out_the_good_ones(
    served: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "_MAX_CACHED", 5)
    known = asking(served)
    token = served.explain("good")
    await known.authenticate(token)
    for number in range(20):
        await refusal(known, f"bad-{number}")
    asked = served.asked
    assert await comes_in(known, token)
    assert served.asked == asked
    assert len(known._inactive) == 5
    await known.aclose()


@pytest.mark.parametrize("good", [True, False])
async def test_many_with_one_token_ask_once(
    known: IntrospectionAuthenticator, served: IssuerServer, *, good: bool
) -> None:
    if good:
        served.explain("t")
        callers = await asyncio.gather(*(known.authenticate("t") for _ in range(50)))
        assert {caller.user_id for caller in callers} == {"user-1"}
    else:
        await asyncio.gather(*(refusal(known, "t") for _ in range(50)))
    assert served.asked == 1


@pytest.mark.parametrize("answer", TROUBLE, ids=lambda answer: str(answer.__name__))
async def test_nobody_comes_in_while_the_issuer_is_in_trouble(
    answer: Answer, known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    token = served.explain("t")
    with trouble(served, answer):
        results = await asyncio.gather(*(known.authenticate(token) for _ in range(5)), return_exceptions=True)
    assert {type(each) for each in results} == {ServiceUnavailable}
    assert await comes_in(known, token)


async def test_a_service_that_the_issuer_does_not_know_lets_nobody_in(served: IssuerServer) -> None:
    served.client = CLIENT
    for client in (None, ("dockrion", "wrong"), ("other", CLIENT[1])):
        known = asking(served, client=client)
        with pytest.raises(ServiceUnavailable):
            await known.authenticate(served.explain("t"))
        await known.aclose()


async def test_answers_are_not_mixed_up(known: IntrospectionAuthenticator, served: IssuerServer) -> None:
    sent = [served.explain(f"token-{number}", sub=f"user-{number}") for number in range(40)]
    callers = await asyncio.gather(*(known.authenticate(token) for token in sent))
    assert [caller.user_id for caller in callers] == [f"user-{number}" for number in range(40)]


async def test_whoever_leaves_does_not_stop_it_for_the_others(
    known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    go = asyncio.Event()

    async def later(_request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response({"active": True, "sub": "user-1"})

    served.misbehave = later
    leaving, staying = (asyncio.create_task(known.authenticate("t")) for _ in range(2))
    await wait_until(lambda: served.asked == 1)
    leaving.cancel()
    await asyncio.wait((leaving,))
    go.set()
    assert (await staying).user_id == "user-1"
    assert served.asked == 1


async def test_an_answer_that_nobody_waits_for_any_more_is_no_error(
    known: IntrospectionAuthenticator, served: IssuerServer
) -> None:
    with trouble(served, slow):
        leaving = asyncio.create_task(known.authenticate("t"))
        await wait_until(lambda: served.asked == 1)
        leaving.cancel()
        await asyncio.wait((leaving,))
        await wait_until(lambda: not known._requests)


async def test_closing_ends_what_is_on_its_way(served: IssuerServer) -> None:
    known = asking(served)
    served.misbehave = slow
    waiting = asyncio.create_task(known.authenticate("t"))
    await wait_until(lambda: served.asked == 1)
    async with asyncio.timeout(1):
        await known.aclose()
        await asyncio.wait((waiting,))
    assert not known._requests
