"""Paths of this service: as its routes have them, and as callers find them below a prefix."""

from aiohttp import web

from dockrion.web.peers import FORWARDED, Forwarded

ROOT_PATH = web.AppKey("root_path", str)  # `expose.root_path`


def url_of(request: web.Request, path: str) -> str:
    """Return the URL at which the caller of a request finds a path of this service."""
    return prefix_of(request) + path


def run_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run."""
    return url_of(request, f"/runs/{run_id}")


def events_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run's events."""
    return url_of(request, events_path(run_id))


def events_path(run_id: str) -> str:
    """Return the path of a run's events in this service."""
    return f"/runs/{run_id}/events"


def prefix_of(request: web.Request) -> str:
    """Return the prefix below which the caller of a request finds this service, empty if there is none."""
    forwarded: Forwarded | None = request.get(FORWARDED)
    root: str = request.app[ROOT_PATH]
    return root if forwarded is None or forwarded.prefix is None else forwarded.prefix


def path_without_root(request: web.Request) -> str:
    """Return the path of a request without `expose.root_path`, whether it begins with it or not."""
    root, path = request.app[ROOT_PATH], request.path
    return path[len(root) :] if path.startswith(f"{root}/") else path


def route_pattern(request: web.Request) -> str | None:
    """Return the pattern of the path that a request has matched, None if it has matched none."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
