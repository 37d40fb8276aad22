"""Headers that describe a caller to the agent's server."""

from collections.abc import Iterable
from urllib.parse import quote

from dockrion.caller import Caller

# Characters that identity headers carry unencoded, besides letters, digits and `-._`.
_HEADER_SAFE = "!#$&'()*+/:;<=>?@[]^_`{|}~ "


def identity_headers(caller: Caller) -> dict[str, str | None]:
    """Return the headers that describe a caller.

    Values are percent-encoded UTF-8 except for plain ASCII, so that no claim can add a header. In
    lists the items' own commas are encoded, too.
    """
    return {
        "X-Dockrion-User-Id": _encode_text(caller.user_id),
        "X-Dockrion-User-Name": _encode_text(caller.name),
        "X-Dockrion-User-Email": _encode_text(caller.email),
        "X-Dockrion-Tenant-Id": _encode_text(caller.tenant_id),
        "X-Dockrion-Roles": _encode_list(caller.roles),
        "X-Dockrion-Permissions": _encode_list(sorted(caller.permissions)),
        "X-Dockrion-Scopes": _encode_list(caller.scopes),
    }


def _encode_text(text: str | None) -> str | None:
    return None if text is None else quote(text, safe=_HEADER_SAFE + ",", errors="replace").strip()


def _encode_list(texts: Iterable[str]) -> str:
    return ",".join(quote(text, safe=_HEADER_SAFE, errors="replace") for text in texts)
