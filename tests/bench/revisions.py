"""Compare this checkout with another, measured in the same run: `python -m tests.bench.revisions CHECKOUT`.

Starts a service of each over one Redis server, in a database each, and posts runs to them in turn. Their
order changes with each round, so that neither has the better half of a machine whose speed varies.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import scenarios, servers
from tests.bench.scenarios import Dockrion
from tests.servers import KINDS, RedisServer

_LONE_RUNS = 300


Figures = dict[str, float]


async def _many(target: Dockrion) -> Figures:
    before = target.server.cpu_seconds
    rate = await scenarios.runs(target)
    return {
        f"until it is complete, {scenarios.CONNECTIONS} connections": 1000 / rate,
        "CPU time of the service": (target.server.cpu_seconds - before) * 1000 / scenarios.REQUESTS,
    }


async def _lone(target: Dockrion) -> Figures:
    times = []
    for _ in range(_LONE_RUNS):
        started = time.perf_counter()
        await target.post_run()
        times.append(time.perf_counter() - started)
    await target.wait_idle()
    return {"until it is accepted, one connection": median(times) * 1000}


async def compare(this: Dockrion, other: Dockrion, rounds: int) -> None:
    print(
        f"{'POST /runs, milliseconds per run':<40} {'this':>8} {'other':>8} {'ratio: median, min, max':>26}"
    )
    for measure in (_many, _lone):
        taken: dict[Dockrion, list[Figures]] = {this: [], other: []}
        for number in range(rounds):
            for each in (this, other) if number % 2 else (other, this):
                taken[each].append(await measure(each))
        for title in taken[this][0]:
            mine, its = ([figures[title] for figures in taken[each]] for each in (this, other))
            ratios = [one / another for one, another in zip(mine, its, strict=True)]
            spread = f"{median(ratios):.3f} {min(ratios):.3f} {max(ratios):.3f}"
            print(f"{title:<40} {median(mine):>8.3f} {median(its):>8.3f} {spread:>26}", flush=True)


async def measure(checkout: Path, rounds: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(RedisServer(KINDS[0], folder)).url.rpartition("/")[0]
        async with servers.client() as session:
            this = stack.enter_context(servers.dockrion("redis", f"{server}/0"))
            other = stack.enter_context(servers.dockrion("redis", f"{server}/1", checkout=checkout))
            await compare(Dockrion(this, session), Dockrion(other, session), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    asyncio.run(measure(options.checkout.resolve(), options.rounds))


if __name__ == "__main__":
    main()
