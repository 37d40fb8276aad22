"""The URLs in responses: paths of this service, as callers find them."""

from aiohttp import web


def url_of(_request: web.Request, path: str) -> str:
    """Return the URL at which the caller of a request finds a path of this service."""
    return path


def run_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run."""
    return url_of(request, f"/runs/{run_id}")


def events_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run's events."""
    return url_of(request, events_path(run_id))


def events_path(run_id: str) -> str:
    """Return the path of a run's events in this service."""
    return f"/runs/{run_id}/events"
