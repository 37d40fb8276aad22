"""Requests below `expose.root_path`, from proxies that leave it in the path."""

from collections.abc import Collection

from aiohttp import web

from dockrion.errors import StartError
from dockrion.web.aiohttp_internals import SamePath, match_path


class RootPath(web.PlainResource):
    """Matches a path below the root path as the router matches it without.

    Register it last: it is asked only where no other resource matches.

    Args:
        router: The router.
        root: The root path.
    """

    def __init__(self, router: web.UrlDispatcher, root: str) -> None:
        super().__init__("/")  # the prefix of all paths
        self._router = router
        self._root = root

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Return the match, or None and the methods that the path has without the root path."""
        path = request.rel_url.raw_path
        if isinstance(request, SamePath) or not f"{path}/".startswith(f"{self._root}/"):
            return None, set()
        match = await match_path(self._router, request, path[len(self._root) :] or "/")
        if match.http_exception is None:
            return match, set()
        return None, set(getattr(match.http_exception, "allowed_methods", ()))


def check_root_path(root: str, patterns: Collection[str]) -> None:
    """Check that no path has two meanings, one with the root path and one without.

    Args:
        root: The root path, empty if there is none.
        patterns: The patterns of the routes' paths.

    Raises:
        StartError: One has.
    """
    if not root:
        return
    for below in patterns:
        path = root + below.removesuffix("/")
        clash = next((pattern for pattern in patterns if _may_be_equal(path, pattern)), None)
        if clash is not None:
            raise StartError(
                f"expose.root_path: below {root}, {below} is {path}, which is the endpoint {clash}, too; "
                "choose another root path"
            )


def _may_be_equal(one: str, other: str) -> bool:
    """Return whether a path can match two patterns."""
    parts, others = one.split("/"), other.split("/")
    return len(parts) == len(others) and all(
        part == each or "{" in part + each for part, each in zip(parts, others, strict=True)
    )
