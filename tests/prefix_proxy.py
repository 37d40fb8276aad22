"""A reverse proxy that serves a service below a prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

_OF_ONE_CONNECTION = (hdrs.CONNECTION, hdrs.TRANSFER_ENCODING, hdrs.HOST)
PREFIX = "/agents/writer"


@asynccontextmanager
async def prefix_proxy(target: int, *, strips: bool = True, says: bool = True) -> AsyncIterator[str]:
    """Serve a service on a port of this machine below `PREFIX`, and yield its URL there.

    Args:
        target: The service's port.
        strips: Whether the prefix is removed from paths.
        says: Whether that is said in `X-Forwarded-Prefix`.
    """

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = CIMultiDict(request.headers)
        headers[hdrs.X_FORWARDED_FOR] = request.remote or ""
        if says:
            headers["X-Forwarded-Prefix"] = PREFIX
        for name in _OF_ONE_CONNECTION:
            headers.popall(name, None)
        path = request.raw_path.removeprefix(PREFIX) if strips else request.raw_path
        url = f"http://127.0.0.1:{target}{path if path.startswith('/') else f'/{path}'}"
        body = await request.read() or None
        async with session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_CONNECTION}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            return response

    app = web.Application()
    app.router.add_route("*", PREFIX, forward)
    app.router.add_route("*", PREFIX + "/{path:.*}", forward)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{PREFIX}"
        finally:
            await runner.cleanup()
