"""Compare Dockrion with a bare aiohttp server, measured in the same run: `python -m tests.bench`."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median, quantiles

from tests.bench import protocols as others
from tests.bench import scenarios, servers, work_queue
from tests.bench import traces as traced
from tests.bench.scenarios import Bare, Dockrion, Nchan, Target
from tests.deployments import ClusterServers
from tests.servers import KINDS, RedisServer

_MIB = 1024 * 1024


class Bench:
    """The servers under test, and the number of rounds per scenario."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.dockrion: Dockrion
        self.redis: Dockrion
        self.bare: Bare
        self.nchan: Nchan | None = None

    async def rates(self, title: str, unit: str, scenario: Callable[[Target], Awaitable[float]]) -> None:
        """Measure both servers in alternating rounds; print the medians and their ratio."""
        dockrion: list[float] = []
        bare: list[float] = []
        for _ in range(self.rounds):
            bare.append(await scenario(self.bare))
            dockrion.append(await scenario(self.dockrion))
        _print(
            title, f"{median(dockrion):,.0f} {unit}", f"{median(bare):,.0f}", median(dockrion) / median(bare)
        )


def _print(title: str, figure: str, other: str = "", ratio: float | None = None) -> None:
    print(f"{title:<44} {figure:>22} {other:>12} {'' if ratio is None else f'{ratio:.2f}':>6}", flush=True)


def _percentiles(rounds: list[list[float]]) -> str:
    cuts = quantiles((milliseconds for each in rounds for milliseconds in each), n=100)
    return f"p50 {cuts[49]:.1f} p99 {cuts[98]:.1f} ms"


async def pattern_a(bench: Bench) -> None:
    await bench.rates("pattern A, one stream of 20,000 tokens", "events/s", scenarios.one_stream)
    await bench.rates("pattern A, 50 streams of 400 tokens", "events/s", scenarios.many_streams)


async def pattern_b(bench: Bench) -> None:
    title = "pattern B, a run of 2,000 events, 100 readers"
    await bench.rates(title, "events/s", scenarios.many_readers)
    memory = [await scenarios.many_readers(bench.dockrion) for _ in range(bench.rounds)]
    redis = [await scenarios.many_readers(bench.redis) for _ in range(bench.rounds)]
    _print(
        "  over redis; beside memory", f"{median(redis):,.0f} events/s", "", median(redis) / median(memory)
    )
    if bench.nchan is None:
        _print("  nchan is not installed", "")
        return
    nchan = [await scenarios.nchan_readers(bench.nchan) for _ in range(bench.rounds)]
    _print("  beside nchan", "", f"{median(nchan):,.0f}", median(memory) / median(nchan))


async def paced(bench: Bench) -> None:
    for title, target in (("bare", bench.bare), ("dockrion", bench.dockrion)):
        p50, p99 = await scenarios.paced(target)
        _print(f"200 events/s, 100 readers, late, {title}", f"p50 {p50:.2f} p99 {p99:.2f} ms")


async def requests(bench: Bench) -> None:
    await bench.rates("POST /invoke, 16 connections", "requests/s", scenarios.posts)
    await bench.rates("POST /runs until all are complete", "runs/s", scenarios.runs)


async def idle(_bench: Bench) -> None:
    async with servers.client() as session:
        # New servers, without freed memory that they could reuse.
        with servers.bare() as bare, servers.dockrion() as dockrion:
            bare_kib = await scenarios.idle_memory(Bare(bare, session))
            kib = await scenarios.idle_memory(Dockrion(dockrion, session))
    _print("500 idle readers, memory each", f"{kib:.1f} KiB", f"{bare_kib:.1f}", kib / bare_kib)


async def start(_bench: Bench) -> None:
    with servers.sample() as server:
        await asyncio.sleep(1)
        _print("from the start to /ready", f"{server.seconds_to_ready:.2f} s")
        _print("memory when idle", f"{server.memory / _MIB:.1f} MiB")


async def growth(bench: Bench) -> None:
    for tokens in (100, 1000, 10_000, 100_000):
        repeat = max(bench.rounds, 2000 // tokens)
        rates = [await scenarios.run_of(bench.dockrion, tokens) for _ in range(repeat)]
        _print(f"a run of {tokens:,} events", f"{median(rates):,.0f} events/s")
    for readers in (1, 10, 100, 1000):
        emitted, delivered = await scenarios.cpu_of(bench.dockrion, readers)
        _print(f"CPU with {readers:,} readers", f"{emitted:.1f} us/event", f"{delivered:.2f} us/delivered")


async def cluster(bench: Bench) -> None:
    """Measure two replicas on one Redis beside two on a cluster of three masters, in alternating runs."""
    delays: dict[str, list[float]] = {"one redis": [], "a cluster": []}
    async with servers.client() as session:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            single = stack.enter_context(RedisServer(KINDS[0], folder)).url
            spread = stack.enter_context(ClusterServers(folder)).url
            replicas = {
                name: [
                    Dockrion(stack.enter_context(servers.dockrion("redis", url)), session) for _ in range(2)
                ]
                for name, url in zip(delays, (single, spread), strict=True)
            }
            for _ in range(bench.rounds * 10):  # runs, whose keys are on any node
                for name, (owner, other) in replicas.items():
                    delays[name] += await scenarios.lone_events(owner, other)
    one, many = (quantiles(found, n=100) for found in delays.values())
    _print("a lone event, to a reader of another replica", f"p50 {one[49]:.2f} p99 {one[98]:.2f} ms")
    _print(
        "  over a cluster; beside one redis",
        f"p50 {many[49]:.2f} p99 {many[98]:.2f} ms",
        "",
        many[49] / one[49],
    )


async def queue(bench: Bench) -> None:
    """Measure the queue that replicas share, and how soon an idle replica takes a run of a busy one."""
    with work_queue.redis() as redis:
        async with servers.client() as session:
            with work_queue.split_service(redis, session) as service:
                await service.throughput()  # warms up
                before = service.cpu_seconds()
                rates = [await service.throughput() for _ in range(bench.rounds)]
                after = service.cpu_seconds()
                _print("queue, one API process and two workers", f"{median(rates):,.0f} runs/s")
                for kind, seconds in after.items():
                    used = (seconds - before[kind]) / bench.rounds / work_queue.BACKLOG
                    _print(f"  CPU time of a run, {kind}", f"{used * 1e6:.0f} us")
                waits = [await service.waiting(0.8 * median(rates)) for _ in range(bench.rounds)]
                _print("  waiting time at 80 % of that", _percentiles(waits))
            waits = [await work_queue.wake_ups(redis, session) for _ in range(bench.rounds)]
            _print("from a busy replica to an idle one", _percentiles(waits))


async def waiting(_bench: Bench) -> None:
    with work_queue.redis() as redis:
        size = await work_queue.memory_per_waiting_run(redis)
        _print("10,000 waiting runs, memory of Redis each", f"{size:,.0f} bytes")
        async for length, milliseconds, in_redis in work_queue.takes(redis):
            _print(f"take one of {length:,}; in Redis", f"{milliseconds:.2f} ms", f"{in_redis:.3f} ms")


async def protocols(bench: Bench) -> None:
    """Measure the encoders of other protocols, and their streams, beside those of plain SSE."""
    for name, kind, microseconds, ratio in others.encoding(bench.rounds):
        _print(f"{kind}, {name}", f"{microseconds:.2f} us/event", "", ratio)
    async with servers.client() as session:
        with servers.dockrion(protocols=others.NAMES) as server:
            for title, readers, payload in others.STREAMS:
                found = await others.delivering(server, session, readers, bench.rounds, **payload)
                for name, (microseconds, ratio) in found.items():
                    _print(f"{title}, {name}", f"{microseconds:.2f} us/event", "", ratio)


async def traces(bench: Bench) -> None:
    """Measure a service that traces everything, or a tenth, beside one that traces nothing."""
    async with servers.client() as session:
        async for title, microseconds in traced.costs(session, bench.rounds):
            for name, each in microseconds.items():
                _print(
                    f"CPU time of {title}, traces: {name}", f"{each:.1f} us", "", each / microseconds["off"]
                )


_ALL = (
    *(pattern_a, pattern_b, paced, requests, idle, start, growth, cluster, queue, waiting, protocols),
    traces,
)
SCENARIOS = {each.__name__: each for each in _ALL}


async def measure(names: list[str], rounds: int) -> None:
    bench = Bench(rounds)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with AsyncExitStack() as clients:
            session = await clients.enter_async_context(servers.client())
            bench.bare = Bare(stack.enter_context(servers.bare()), session)
            bench.dockrion = Dockrion(stack.enter_context(servers.dockrion()), session)
            if "pattern_b" in names:
                redis = stack.enter_context(RedisServer(KINDS[0], folder)).url
                bench.redis = Dockrion(stack.enter_context(servers.dockrion("redis", redis)), session)
                nchan = stack.enter_context(servers.nchan())
                bench.nchan = None if nchan is None else Nchan(nchan, session)
            _print("", "dockrion", "bare aiohttp")
            for name in names:
                await SCENARIOS[name](bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help=f"scenarios to run, of {', '.join(SCENARIOS)}; default: all",
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if unknown := set(options.scenarios) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    asyncio.run(measure(options.scenarios or list(SCENARIOS), options.rounds))


if __name__ == "__main__":
    main()
