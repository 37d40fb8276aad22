"""The URL at which an agent process pushes the events of its run: it leads to the process that calls it."""

import asyncio
import ipaddress
import socket
from typing import Any

from aiohttp import web
from yarl import URL

from dockrion.web.service import SERVICE, Service
from dockrion.web.urls import events_path


async def push_url(request: web.Request, run_id: str, incarnation: str) -> str | None:
    """Return where an agent process can push a new run's events, with a token if it can.

    It is the address at which the request arrived, which therefore leads to this process.

    Args:
        request: The request that starts the run.
        run_id: The run.
        incarnation: Its incarnation.
    """
    service, transport = request.app[SERVICE], request.transport
    streaming = service.dockfile.streaming
    if transport is None or service.dockfile.agent.mode != "url" or not streaming.async_runs:
        return None
    path = events_path(run_id)
    if service.push_access is not None:
        path += f"/{await service.push_access.new_url_token(run_id, incarnation)}"
    address: Any = transport.get_extra_info("sockname")
    return _url(service, address, path)


async def push_url_here(service: Service, url: str | None) -> str | None:
    """Return the URL that leads to this process for a run that another one has accepted.

    It stays as it is where this process cannot accept events, or has no address of its own.

    Args:
        service: The service.
        url: The URL that leads to the other process.
    """
    address = service.address
    if url is None or address is None or service.role == "worker":
        return url
    path = url.rpartition(":")[2] if url.startswith("unix:") else URL(url).raw_path
    if not isinstance(address, str) and ipaddress.ip_address(address[0]).is_unspecified:
        address = await _host_seen_by(service.dockfile.agent.target, address[0]), address[1]
    return _url(service, address, path)


async def _host_seen_by(agent_url: str, bound: str) -> str:
    """Return the address of this machine that an agent process reaches.

    Args:
        agent_url: The URL of the process.
        bound: The unspecified address, of IPv4 or IPv6, at which this process listens.
    """
    version = ipaddress.ip_address(bound).version
    family, loopback = (socket.AF_INET, "127.0.0.1") if version == 4 else (socket.AF_INET6, "::1")  # noqa: PLR2004
    if agent_url.startswith("unix:"):
        return loopback
    url, loop = URL(agent_url), asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, url.port, family=family, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return loopback


def _url(service: Service, address: Any, path: str) -> str:
    if isinstance(address, str):
        return f"unix:{address}:{path}"
    scheme = "http" if service.dockfile.expose.tls is None else "https"
    return str(URL.build(scheme=scheme, host=address[0], port=address[1], path=path))
