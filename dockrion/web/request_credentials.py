"""Where requests carry API keys and tokens."""

from aiohttp import hdrs, web

from dockrion.auth.authenticator import invalid_credentials
from dockrion.dockfile.auth_structs import ApiKeysSpec, AuthSpec

_BEARER = "bearer"


class RequestCredentials:
    """Reads the callers' API keys or tokens.

    Args:
        auth: The Dockfile's section.

    Attributes:
        challenge: The headers that tell refused callers what to send, if it is not a token.
    """

    def __init__(self, auth: AuthSpec | None) -> None:
        # Only API keys have a header of their own; tokens are bearer tokens (RFC 6750, 2.1).
        self._keys = auth.api_keys if auth is not None and auth.mode == "api_key" else None
        header = "" if self._keys is None else self._keys.header
        self._keys_in_authorization = header.lower() == hdrs.AUTHORIZATION.lower()
        self.challenge: dict[str, str] = (
            {} if self._keys is None else {hdrs.WWW_AUTHENTICATE: _challenge(self._keys)}
        )

    def of(self, request: web.Request) -> str:
        """Return the caller's API key or token.

        Raises:
            Unauthorized: There is none.
        """
        credential = "" if self._keys is None else _single_header(request, self._keys.header)
        bearer_allowed = self._keys is None or self._keys.allow_bearer
        if bearer_allowed and (not credential or self._keys_in_authorization):
            credential = bearer_token(request) or credential
        if not credential:
            raise invalid_credentials()
        return credential


def bearer_token(request: web.Request) -> str:
    """Return the bearer token of a request, empty if it has none (RFC 6750, 2.1).

    Raises:
        Unauthorized: There are several `Authorization` headers.
    """
    scheme, _, token = _single_header(request, hdrs.AUTHORIZATION).partition(" ")
    return token.strip(" ") if scheme.lower() == _BEARER else ""


def _single_header(request: web.Request, name: str) -> str:
    """Return the value of a header, empty if it is absent.

    Raises:
        Unauthorized: It is repeated: a proxy on the way may have judged by another one.
    """
    first, *others = request.headers.getall(name, [""])
    if others:
        raise invalid_credentials()
    return first


def _challenge(keys: ApiKeysSpec) -> str:
    scheme = f'ApiKey header="{keys.header}"'
    return f"Bearer, {scheme}" if keys.allow_bearer else scheme
