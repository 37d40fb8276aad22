"""The sections on who is let in (`auth`), what passes (`policies`), and `build`."""

from typing import Annotated, Literal

from msgspec import Meta, field

from dockrion.dockfile.declarations import Section, Text, Variable, about, form

WebUrl = Annotated[str, form(r"https?://[^\s/?#]+\S*", "http://… or https://…")]
ClaimPath = Annotated[str, form(r"[^\s.]+(\.[^\s.]+)*", "a claim's name, or a path with dots")]
RateLimit = Annotated[
    str,
    form(
        r"[1-9][0-9]*/(second|minute|hour|day|s|m|h|d)",
        "count/window, the window one of second, minute, hour, day, s, m, h, d",
    ),
]
Algorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512"]
Permission = Literal["deploy", "rollback", "invoke", "view_metrics", "key_manage", "read_logs", "read_docs"]


class ApiKeysSpec(Section, frozen=True):
    env_var: Annotated[Variable, about("The variable with the key, or several separated by commas.")] = (
        "DOCKRION_API_KEY"
    )
    prefix: Annotated[
        Variable | None,
        about("Every variable whose name starts so is a key, the rest of its name its owner."),
    ] = None
    header: Annotated[
        Annotated[str, form(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", "a header's name of at most 64 characters")],
        about("The header that carries the key."),
    ] = "X-API-Key"
    allow_bearer: Annotated[bool, about("Accept `Authorization: Bearer`, too.")] = True
    enabled: Annotated[bool, about("`false` with mode api_key is refused.")] = True
    rotation_days: Annotated[int, Meta(ge=1), about("For information.")] = 30


class ClaimsSpec(Section, frozen=True):
    user_id: Annotated[ClaimPath, about("Claim with the user's id.")] = "sub"
    email: Annotated[ClaimPath, about("Claim with the e-mail address.")] = "email"
    name: Annotated[ClaimPath, about("Claim with the name.")] = "name"
    roles: Annotated[ClaimPath, about("Claim with the roles.")] = "roles"
    permissions: Annotated[ClaimPath, about("Claim with the permissions.")] = "permissions"
    scopes: Annotated[ClaimPath, about("Claim with the scopes.")] = "scope"
    tenant_id: Annotated[ClaimPath | None, about("Claim with the tenant's id.")] = None


class JwtSpec(Section, frozen=True):
    jwks_url: Annotated[WebUrl | None, about("Where the issuer's keys are; this or public_key_env.")] = None
    public_key_env: Annotated[Variable | None, about("The variable with the key; this or jwks_url.")] = None
    issuer: Annotated[Text | None, about("The `iss` a token must have.")] = None
    audience: Annotated[Text | None, about("The `aud` a token must have.")] = None
    algorithms: Annotated[list[Algorithm], about("Never HS with others, or with jwks_url.")] = field(
        default_factory=lambda: ["RS256"]
    )
    leeway_seconds: Annotated[int, Meta(ge=0, le=300), about("Clock difference that is forgiven.")] = 30
    claims: Annotated[ClaimsSpec, about("Where a token says what.")] = field(default_factory=ClaimsSpec)


class OAuth2Spec(Section, frozen=True):
    introspection_url: Annotated[WebUrl | None, about("RFC 7662; mode oauth2 needs it.")] = None
    client_id_env: Annotated[Variable | None, about("The variable with the client's id.")] = None
    client_secret_env: Annotated[Variable | None, about("The variable with the client's secret.")] = None
    required_scopes: Annotated[list[Text], about("Scopes a token must have.")] = field(default_factory=list)


class RoleSpec(Section, frozen=True):
    name: Annotated[Text, about("The role.")]
    permissions: Annotated[list[Permission], about("What it may do.")] = field(default_factory=list)


class AuthSpec(Section, frozen=True):
    # A section that is there asks for protection, so the default is not `none`.
    mode: Annotated[Literal["none", "api_key", "jwt", "oauth2"], about("How callers prove who they are.")] = (
        "api_key"
    )
    api_keys: Annotated[ApiKeysSpec, about("Mode api_key.")] = field(default_factory=ApiKeysSpec)
    jwt: Annotated[JwtSpec, about("Mode jwt.")] = field(default_factory=JwtSpec)
    oauth2: Annotated[OAuth2Spec, about("Mode oauth2.")] = field(default_factory=OAuth2Spec)
    roles: Annotated[list[RoleSpec], about("Roles and what they may do.")] = field(default_factory=list)
    rate_limits: Annotated[dict[str, RateLimit], about("By role, or `default`.")] = field(
        default_factory=dict
    )


class SafetySpec(Section, frozen=True):
    redact_patterns: Annotated[list[Text], about("Regular expressions whose matches are hidden.")] = field(
        default_factory=list
    )
    max_output_chars: Annotated[
        Annotated[int, Meta(ge=1)] | None, about("Where texts of the output are cut.")
    ] = None
    halt_on_violation: Annotated[bool, about("End the run instead.")] = False
    block_prompt_injection: Annotated[bool, about("Refuse the well-known phrasings.")] = True


class ToolsSpec(Section, frozen=True):
    allowed: Annotated[list[Text], about("Tools the agent may call.")] = field(default_factory=list)
    deny_by_default: Annotated[bool, about("Only those.")] = False


class PoliciesSpec(Section, frozen=True):
    safety: Annotated[SafetySpec | None, about("Texts.")] = None
    tools: Annotated[ToolsSpec | None, about("Tools.")] = None


class IncludeSpec(Section, frozen=True):
    directories: Annotated[list[str], about("Directories.")] = field(default_factory=list)
    files: Annotated[list[str], about("Files.")] = field(default_factory=list)
    patterns: Annotated[list[str], about("Glob patterns.")] = field(default_factory=list)


class BuildSpec(Section, frozen=True):
    include: Annotated[IncludeSpec, about("What goes into the image.")] = field(default_factory=IncludeSpec)
    exclude: Annotated[list[str], about("What does not.")] = field(default_factory=list)
    auto_detect_imports: Annotated[bool, about("Find what the agent imports.")] = False
