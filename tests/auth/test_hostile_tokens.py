"""Malformed and hostile tokens are refused, and never cause another exception."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth.authenticator import Roles
from dockrion.auth.jwt_tokens import JwtAuthenticator
from dockrion.dockfile.auth_structs import JwtSpec
from dockrion.errors import Unauthorized
from tests.auth.issuers import issue_token, signing_key
from tests.auth.refusals import refusal

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=10,
)
HEADERS = st.fixed_dictionaries(
    {}, optional={"alg": st.just("RS256") | JSON, "kid": JSON, "crit": JSON, "typ": JSON, "b64": JSON}
)


def authenticator() -> JwtAuthenticator:
    return JwtAuthenticator(JwtSpec(), signing_key().pem, Roles([]))


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
async def test_any_text(sent: str) -> None:
    with pytest.raises(Unauthorized):
        await authenticator().authenticate(sent)


@given(HEADERS | JSON, JSON, st.binary(max_size=300))
async def test_any_header_and_claims(header: Any, claims: Any, signature: bytes) -> None:
    said = [msgspec.json.encode(header), msgspec.json.encode(claims), signature]
    with pytest.raises(Unauthorized):
        await authenticator().authenticate(".".join(map(part, said)))


@given(st.data())
async def test_any_character_changed(data: st.DataObject) -> None:
    token = issue_token()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii") | st.characters())
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(Unauthorized):
            await authenticator().authenticate(changed)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"RS256","x":' + b"[" * 12_000,
        b'{"alg":"RS256","x":' + b'{"a":' * 2_400,
        b'{"alg":"RS256","x":' + b"9" * 12_000 + b"}",
        b'{"alg":"RS256","alg":"none"}',
        b'{"alg":"RS256","x":1e999,"y":NaN}',
        b'\xef\xbb\xbf{"alg":"RS256"}',
        b'{"alg":"RS256","kid":"\\ud800"}',
        b"\xff\xfe",
        b"null",
        b"",
    ],
    ids=range(10),
)
async def test_hostile_headers(header: bytes) -> None:
    claims = issue_token().split(".")[1:]
    await refusal(authenticator(), ".".join([part(header), *claims]))


@pytest.mark.parametrize("sent", ["", ".", "..", "...", "a.b.c", "." * 16_000, "=.=.=", "\0.\0.\0", "é.é.é"])
async def test_malformed_tokens(sent: str) -> None:
    await refusal(authenticator(), sent)
