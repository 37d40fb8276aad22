"""What traces cost: the CPU time of a service with and without them, in alternating rounds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from statistics import median

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.bench import scenarios, servers
from tests.bench.scenarios import Dockrion, Session

_TOKENS, _TOOLS = 20_000, 2_000
_SAMPLED = {
    "off": "false",
    "a tenth": "{{endpoint: '{url}', sample_ratio: 0.1}}",
    "all": "{{endpoint: '{url}'}}",
}


async def _invocations(target: Dockrion) -> int:
    await scenarios.posts(target)
    return scenarios.REQUESTS


async def _runs(target: Dockrion) -> int:
    await scenarios.runs(target)
    return scenarios.REQUESTS


async def _tokens(target: Dockrion) -> int:
    return await target.one_stream(tokens=_TOKENS)


async def _tool_calls(target: Dockrion) -> int:
    for _ in range(_TOOLS // 500):
        await target.one_stream(tokens=0, tools=500)
    return _TOOLS


SCENARIOS: dict[str, Callable[[Dockrion], Awaitable[int]]] = {
    "POST /invoke": _invocations,
    "a run, with POST /runs": _runs,
    "a token of a stream": _tokens,
    "a tool call, two events": _tool_calls,
}


async def costs(session: Session, rounds: int) -> AsyncIterator[tuple[str, dict[str, float]]]:
    """Yield each scenario's name, and the microseconds of CPU time of one, by the share that is sampled."""
    async with _collector() as url:
        with ExitStack() as stack:
            targets = {
                name: Dockrion(
                    stack.enter_context(servers.dockrion(tracing=tracing.format(url=url))), session
                )
                for name, tracing in _SAMPLED.items()
            }
            for title, scenario in SCENARIOS.items():
                found: dict[str, list[float]] = {name: [] for name in targets}
                for _ in range(rounds):
                    for name, target in targets.items():
                        before = target.server.cpu_seconds
                        number = await scenario(target)
                        found[name].append((target.server.cpu_seconds - before) * 1e6 / number)
                yield title, {name: median(values) for name, values in found.items()}


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", accept)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
