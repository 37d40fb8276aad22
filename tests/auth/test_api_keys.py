import hmac
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth import api_keys
from dockrion.auth.api_keys import ApiKeyAuthenticator
from dockrion.auth.authenticator import ALL_PERMISSIONS, Roles
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import RoleSpec
from dockrion.errors import Unauthorized
from tests.auth.refusals import refusal

ROLES = Roles([RoleSpec(name="admin", permissions=["invoke", "read_logs"]), RoleSpec(name="nothing")])


async def test_key_authenticates_its_owner() -> None:
    keys = ApiKeyAuthenticator([("ann", "a"), ("bob", "b"), ("ann", "new a")], Roles([]))
    ann = Caller(user_id="ann", name="ann", permissions=ALL_PERMISSIONS)
    assert await keys.authenticate("a") == await keys.authenticate("new a") == ann
    assert (await keys.authenticate("b")).user_id == "bob"
    await keys.aclose()


async def test_key_has_the_role_named_like_its_owner() -> None:
    keys = ApiKeyAuthenticator([("admin", "a"), ("nothing", "n"), ("guest", "g")], ROLES)
    admin, nothing, guest = [await keys.authenticate(key) for key in "ang"]
    assert [each.roles for each in (admin, nothing, guest)] == [("admin",), ("nothing",), ()]
    assert admin.permissions == {"invoke", "read_logs"}
    assert nothing.permissions == guest.permissions == frozenset()


async def test_default_key_has_its_own_permissions_unless_its_role_says_otherwise() -> None:
    keys = [("default", "d"), ("guest", "g")]
    default = await ApiKeyAuthenticator(keys, ROLES).authenticate("d")
    assert (default.roles, default.permissions) == ((), frozenset(("invoke", "view_metrics", "read_docs")))
    for permissions in ([], ["read_docs"]):
        roles = Roles([RoleSpec(name="default", permissions=permissions)])  # type: ignore[arg-type]
        default = await ApiKeyAuthenticator(keys, roles).authenticate("d")
        assert (default.roles, default.permissions) == (("default",), frozenset(permissions))
    assert (await ApiKeyAuthenticator(keys, Roles([])).authenticate("d")).permissions == ALL_PERMISSIONS


@pytest.mark.parametrize("keys", [[], [("ann", "käy,1")]])
async def test_every_wrong_key_gets_the_same_error(keys: list[tuple[str, str]]) -> None:
    authenticator = ApiKeyAuthenticator(keys, Roles([]))
    sent = ["", " ", "käy,", "käy,1 ", " käy,1", "KÄY,1", "kay,1", "k\ud800", "käy,1\0", "x" * 100_000, "ann"]
    assert {await refusal(authenticator, each) for each in sent} == {await refusal(authenticator, "unknown")}


@given(st.lists(st.text(), unique=True), st.text())
async def test_only_configured_keys_are_accepted(keys: list[str], sent: str) -> None:
    authenticator = ApiKeyAuthenticator([(f"owner of {key}", key) for key in keys], Roles([]))
    for key in keys:
        assert (await authenticator.authenticate(key)).user_id == f"owner of {key}"
    if sent not in keys:
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(sent)


def test_key_of_two_owners_is_rejected() -> None:
    with pytest.raises(ValueError, match="ann and bob have the same key"):
        ApiKeyAuthenticator([("ann", "secret"), ("bob", "secret")], Roles([]))


@pytest.mark.parametrize("sent", ["first", "second", "third", "none"])
async def test_every_key_is_compared_in_constant_time(sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = ApiKeyAuthenticator([("a", "first"), ("b", "second"), ("c", "third")], Roles([]))
    compared: list[Any] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(api_keys, "hmac", Mock(compare_digest=compare))
    if sent == "none":
        await refusal(authenticator, sent)
    else:
        await authenticator.authenticate(sent)
    assert compared == [(32, 32)] * 3
