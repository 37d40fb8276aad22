from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.auth.authenticator import ALL_PERMISSIONS, Roles
from dockrion.auth.claims import caller_from_claims
from dockrion.caller import Caller
from dockrion.dockfile.auth_structs import ClaimsSpec, RoleSpec
from dockrion.errors import Unauthorized

USUAL = ClaimsSpec()
ANYBODY = Roles([])
ROLES = Roles(
    [RoleSpec(name="reader", permissions=["read_docs"]), RoleSpec(name="ops", permissions=["deploy"])]
)


def test_default_claim_names() -> None:
    claims = {
        "sub": "u",
        "email": "u@h",
        "name": "Ann",
        "roles": ["reader", "guest"],
        "permissions": ["invoke"],
        "scope": "a b",
        "exp": 9.5,
        "tenant_id": "ignored",
    }
    assert caller_from_claims(claims, USUAL, ROLES, leeway=30) == Caller(
        user_id="u",
        email="u@h",
        name="Ann",
        roles=("reader", "guest"),
        permissions=frozenset({"read_docs", "invoke"}),
        scopes=("a", "b"),
        expires_at=39.5,
    )
    assert caller_from_claims({"sub": "u"}, USUAL, ANYBODY) == Caller(
        user_id="u", permissions=ALL_PERMISSIONS
    )


def test_claims_at_dotted_paths() -> None:
    where = ClaimsSpec(
        user_id="user.id", roles="realm_access.roles", tenant_id="https://h/tenant.id", name="a.b.c"
    )
    claims = {
        "user": {"id": 7},
        "realm_access": {"roles": ["ops"]},
        "https://h/tenant.id": "t",
        "a": {"b": "no mapping"},
        "sub": "other",
    }
    caller = caller_from_claims(claims, where, ROLES)
    assert (caller.user_id, caller.tenant_id, caller.roles, caller.name) == ("7", "t", ("ops",), None)
    assert caller.permissions == {"deploy"}


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a b", ("a", "b")),
        ("a,b, c", ("a", "b", "c")),
        (["a b", "c"], ("a b", "c")),
        ([1, None, ["a"], "", "x\n", "\ud800", "b"], ("b",)),
        ({"a": 1}, ()),
        (True, ()),
        ("", ()),
    ],
)
def test_lists_of_texts(value: Any, texts: tuple[str, ...]) -> None:
    assert caller_from_claims({"sub": "u", "roles": value, "scope": value}, USUAL, ANYBODY).scopes == texts


UNFIT = ["", True, 1.5, [], ["u"], {}, "a\r\nb", "nul\0", "\ud800", "x" * 1001, 10**30, -(10**5000)]


@pytest.mark.parametrize("value", UNFIT, ids=range(len(UNFIT)))
def test_malformed_identity_is_refused(value: Any) -> None:
    where = ClaimsSpec(tenant_id="tenant")
    for claims in ({"sub": value}, {"sub": "u", "tenant": value}):
        with pytest.raises(Unauthorized):
            caller_from_claims(claims, where, ANYBODY)
    kept = caller_from_claims({"sub": "u", "name": value, "email": value}, where, ANYBODY)
    assert (kept.name, kept.email, kept.tenant_id) == (None, None, None)


@pytest.mark.parametrize("claims", [{}, {"sub": None}, {"user": "u"}])
def test_missing_user_id_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        caller_from_claims(claims, USUAL, ANYBODY)


@pytest.mark.parametrize("exp", ["9", True, [], {}, 0, -1, float("nan"), float("-inf")])
def test_malformed_expiry_is_refused(exp: Any) -> None:
    with pytest.raises(Unauthorized):
        caller_from_claims({"sub": "u", "exp": exp}, USUAL, ANYBODY)


@pytest.mark.parametrize("exp", [10**400, float("inf"), 1e300], ids=["int", "inf", "float"])
def test_expiry_is_capped_at_the_last_date(exp: Any) -> None:
    assert caller_from_claims({"sub": "u", "exp": exp}, USUAL, ANYBODY).expires_at == 253_402_300_799


IDS = st.one_of(st.none(), st.text(min_size=1, max_size=4, alphabet='ab",[]\\é'))


@given(st.tuples(IDS, IDS), st.tuples(IDS, IDS))
def test_different_identities_make_different_owners(
    one: tuple[str | None, str], other: tuple[str | None, str]
) -> None:
    def owner(of: tuple[str | None, str | None]) -> str:
        return Caller(tenant_id=of[0], user_id=of[1] or "").owner

    assert (owner(one) == owner(other)) == ((one[0], one[1] or "") == (other[0], other[1] or ""))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(["sub", "email", "name", "roles", "permissions", "scope", "exp", "tenant"])


@given(st.dictionaries(NAMES, JSON))
def test_any_claims_make_a_caller_or_are_refused(claims: dict[str, Any]) -> None:
    try:
        caller = caller_from_claims(claims, ClaimsSpec(tenant_id="tenant", email="name.email"), ROLES)
    except Unauthorized:
        return
    assert caller.user_id
    assert caller.owner.isprintable() or caller.owner.encode()
    assert caller.expires_at is None or caller.expires_at > 0
