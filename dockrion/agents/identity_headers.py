"""Who the caller is, as an agent process is told."""

from collections.abc import Iterable
from urllib.parse import quote

from dockrion.caller import Caller

_PLAIN = "!#$&'()*+/:;<=>?@[]^_`{|}~ "  # beside letters, digits and -._: what a header may hold, less % and ,


def identity(caller: Caller) -> dict[str, str | None]:
    """Return the headers that say who a caller is.

    Whatever is not plain ASCII, and `%`, is percent-encoded UTF-8, so that no claim can end its
    header; in lists so are commas, which separate their items.
    """
    return {
        "X-Dockrion-User-Id": _encoded(caller.user_id),
        "X-Dockrion-User-Name": _encoded(caller.name),
        "X-Dockrion-User-Email": _encoded(caller.email),
        "X-Dockrion-Tenant-Id": _encoded(caller.tenant_id),
        "X-Dockrion-Roles": _listed(caller.roles),
        "X-Dockrion-Permissions": _listed(sorted(caller.permissions)),
        "X-Dockrion-Scopes": _listed(caller.scopes),
    }


def _encoded(text: str | None) -> str | None:
    return None if text is None else quote(text, safe=_PLAIN + ",", errors="replace").strip()


def _listed(texts: Iterable[str]) -> str:
    return ",".join(quote(text, safe=_PLAIN, errors="replace") for text in texts)
