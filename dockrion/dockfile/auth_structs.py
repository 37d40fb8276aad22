"""The section that says who may call: `auth`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dockrion.dockfile.annotations import EnvVar, NonEmpty, doc, matching

WebUrl = Annotated[str, matching(r"https?://[^\s/?#]+\S*", "http://… or https://…")]
ClaimPath = Annotated[
    str, matching(r"[^\s.]+(\.[^\s.]+)*", "the name of a claim, or a dotted path to a nested one")
]
HeaderName = Annotated[
    str, matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", "a header name of at most 64 characters")
]
Scope = Annotated[  # RFC 6749, 3.3; a comma separates scopes, as a space does
    str,
    matching(r"[!#-+\--\[\]-~]+", "one scope, without spaces, commas, double quotes and backslashes"),
]
RateLimit = Annotated[
    str,
    matching(
        r"[1-9][0-9]*/(second|minute|hour|day|s|m|h|d)",
        "count/window, where window is one of second, minute, hour, day, s, m, h, d",
    ),
]
Algorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512"]
Permission = Literal[
    "deploy", "rollback", "invoke", "respond", "view_metrics", "key_manage", "read_logs", "read_docs"
]

PublicEndpoints = Literal["metrics", "schema", "info", "docs"]


class ApiKeysSpec(Struct, frozen=True):
    env_var: Annotated[
        EnvVar, doc("Environment variable that holds the API key, or several separated by commas.")
    ] = "DOCKRION_API_KEY"
    prefix: Annotated[
        EnvVar | None,
        doc("Every variable whose name starts with it holds a key; the rest of the name names the caller."),
    ] = None
    header: Annotated[HeaderName, doc("Header that carries the key.")] = "X-API-Key"
    allow_bearer: Annotated[bool, doc("Accept the key in `Authorization: Bearer` as well.")] = True
    enabled: Annotated[bool, doc("Must be true with mode api_key.")] = True
    rotation_days: Annotated[int, Meta(ge=1), doc("Informational; not enforced.")] = 30


class ClaimsSpec(Struct, frozen=True):
    user_id: Annotated[ClaimPath, doc("Claim that holds the user's id.")] = "sub"
    email: Annotated[ClaimPath, doc("Claim that holds the e-mail address.")] = "email"
    name: Annotated[ClaimPath, doc("Claim that holds the name.")] = "name"
    roles: Annotated[ClaimPath, doc("Claim that holds the roles.")] = "roles"
    permissions: Annotated[ClaimPath, doc("Claim that holds the permissions.")] = "permissions"
    scopes: Annotated[ClaimPath, doc("Claim that holds the scopes.")] = "scope"
    tenant_id: Annotated[ClaimPath | None, doc("Claim that holds the tenant's id.")] = None


class JwtSpec(Struct, frozen=True):
    jwks_url: Annotated[WebUrl | None, doc("URL of the issuer's JWKS; either this or public_key_env.")] = None
    public_key_env: Annotated[
        EnvVar | None, doc("Environment variable that holds the verification key; either this or jwks_url.")
    ] = None
    issuer: Annotated[NonEmpty | None, doc("Required value of the `iss` claim.")] = None
    audience: Annotated[NonEmpty | None, doc("Required value of the `aud` claim.")] = None
    algorithms: Annotated[
        list[Algorithm], doc("Accepted signature algorithms; HS… not together with others or with jwks_url.")
    ] = field(default_factory=lambda: ["RS256"])
    leeway_seconds: Annotated[int, Meta(ge=0, le=300), doc("Tolerated clock difference, in seconds.")] = 30
    claims: Annotated[ClaimsSpec, doc("Claims that identify the caller.")] = field(default_factory=ClaimsSpec)


class OAuth2Spec(Struct, frozen=True):
    introspection_url: Annotated[WebUrl | None, doc("RFC 7662 endpoint; required with mode oauth2.")] = None
    client_id_env: Annotated[EnvVar | None, doc("Environment variable with the client id.")] = None
    client_secret_env: Annotated[EnvVar | None, doc("Environment variable with the client secret.")] = None
    required_scopes: Annotated[list[Scope], doc("Scopes that a token must have.")] = []


class RoleSpec(Struct, frozen=True):
    name: Annotated[NonEmpty, doc("Name of the role.")]
    permissions: Annotated[list[Permission], doc("Permissions that the role grants.")] = []


class AuthSpec(Struct, frozen=True):
    # An `auth` section asks for protection, so the default is not `none`.
    mode: Annotated[Literal["none", "api_key", "jwt", "oauth2"], doc("How callers authenticate.")] = "api_key"
    api_keys: Annotated[ApiKeysSpec, doc("Settings of mode api_key.")] = field(default_factory=ApiKeysSpec)
    jwt: Annotated[JwtSpec, doc("Settings of mode jwt.")] = field(default_factory=JwtSpec)
    oauth2: Annotated[OAuth2Spec, doc("Settings of mode oauth2.")] = field(default_factory=OAuth2Spec)
    roles: Annotated[list[RoleSpec], doc("Roles and the permissions they grant.")] = []
    public: Annotated[
        list[PublicEndpoints],
        doc(
            "Endpoints open to everybody: `/metrics`, `/schema`, `/info`; `docs` opens `/docs` and the "
            "documents it shows."
        ),
    ] = []
    rate_limits: Annotated[
        dict[str, RateLimit], doc("Runs a caller may start, by role; `default` applies to all other roles.")
    ] = {}
