"""The checks after the chaos, when everything is up again."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from dockrion.events import TERMINAL
from tests.chaos.clients import Clients
from tests.chaos.readers import TROUBLE, Shared, Tracked
from tests.chaos.service import MAX_ATTEMPTS, Replica, Service
from tests.chaos.storages import PASSWORD
from tests.exposition import metric

_STATUS = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}
_NOT_COMPARED = {"input": None, "input_excerpt": None, "output": None, "truncated": False}
_UNFINISHED = ("accepted", "running")
_TIMEOUT_SECONDS = 45.0
_METRICS = ("dockrion_open_streams", "dockrion_active_runs")
# Each key, its time to live, and whether it is a run with a job, or the readers of a run by replica.
_KEYS = """
local found = {}
for n, key in ipairs(redis.call('KEYS', '*')) do
  local job = string.find(key, ':run$') and redis.call('HEXISTS', key, 'job') or 0
  local readers = string.find(key, ':watchers$') and redis.call('HGETALL', key) or {}
  found[n] = {key, redis.call('TTL', key), job, readers}
end
return found
"""


class Verdict:
    """Compares what clients, replicas and Redis say, and records what is wrong.

    Args:
        service: Its replicas and its storage are up again.
        shared: What the clients share.
    """

    def __init__(self, service: Service, shared: Shared) -> None:
        self._service = service
        self._shared = shared

    async def until_ready(self) -> None:
        """Wait until every replica is ready."""
        for replica in self._service.current:
            deadline = time.monotonic() + _TIMEOUT_SECONDS
            while await self._ask(replica, "/ready") is None:
                if time.monotonic() > deadline:
                    self._wrong("not ready", replica.process.url)
                    break
                await asyncio.sleep(0.1)

    async def until_ended(self) -> None:
        """Wait until no run is unfinished."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        for status in _UNFINISHED:
            while items := [item async for item in self._listed(f"status={status}")]:
                if time.monotonic() > deadline:
                    self._wrong(f"still {status}", [item["run_id"] for item in items])
                    break
                await asyncio.sleep(0.1)

    async def check_runs(self, clients: Clients) -> None:
        """Compare what the clients have seen with the records of the runs."""
        listed = {item["run_id"]: item async for item in self._listed("limit=200")}
        for record in listed.values():
            self._shared.counts[
                f"runs {record['status']} {(record['error'] or {}).get('code', '')}".strip()
            ] += 1
        for run in clients.runs.values():
            if run.run_id not in listed:
                self._shared.fail(run, "not listed")
            else:
                self._check_run(run, await self._get(f"/runs/{run.run_id}"), listed[run.run_id])

    async def until_idle(self) -> None:
        """Wait until replicas and Redis have released everything that has ended."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while left := [*await asyncio.to_thread(self._left), *await self._busy()]:
            if time.monotonic() > deadline:
                self._wrong("left", left[:5])
                break
            await asyncio.sleep(0.2)

    def check_starts(self, clients: Clients) -> None:
        """Check that the agent has worked on one run for each request, and once in each of its attempts."""
        blindly = {str(number) for number in clients.repeated_blindly}
        starts = [tuple(line.split()) for line in self._service.starts.read_text().splitlines()]
        runs = Counter(number for number, _ in {(number, run_id) for number, run_id, _ in starts})
        for number, count in runs.items():
            if count > 1 and number not in blindly:
                self._wrong("runs of one request", [each for each in starts if each[0] == number])
        for start, times in Counter(starts).items():
            if times > 1:
                self._wrong("begun twice", start)

    def check_logs(self) -> None:
        """Check the logs of all replicas, killed ones included."""
        for life, replica in enumerate(self._service.started):
            if replica.process.err:
                self._wrong(f"stderr of replica {life}", replica.process.err[:2000])
            if PASSWORD in replica.process.out + replica.process.err:
                self._wrong(f"password in the log of replica {life}", "")
            code = replica.process.popen.poll()
            if not replica.killed and code is not None and (code or not replica.terminated):
                self._wrong(f"replica {life} ended by itself", code)
            for line in replica.process.out.splitlines(keepends=True):
                if not line.endswith("\n"):
                    continue
                fields = msgspec.json.decode(line)
                if "traceback" in fields:
                    self._wrong(f"traceback in the log of replica {life}", line)
                if fields["level"] in ("warning", "error"):
                    self._shared.counts[f"log: {fields['message'][:60]}"] += 1

    def _check_run(self, run: Tracked, record: dict[str, Any], listed: dict[str, Any]) -> None:
        last = max(run.log, default=0)
        if sorted(run.log) != list(range(1, last + 1)):
            self._shared.fail(run, f"seen are {sorted(run.log)}")
            return
        log = [(message.event, msgspec.json.decode(message.data)) for message in run.log.values()]
        log.sort(key=lambda event: event[1]["sequence"])
        *events, (kind, end) = log or [("", {})]
        wrong = []
        if kind not in TERMINAL or any(event in TERMINAL for event, _ in events):
            wrong.append("not exactly one terminal event, the last")
        if record["status"] != _STATUS.get(kind) or record["last_sequence"] != last:
            wrong.append("the record does not match")
        if {**record, **_NOT_COMPARED} != {**listed, **_NOT_COMPARED}:
            wrong.append("the listing does not match")
        if record["input"] != run.payload:
            wrong.append("the input is wrong")
        if any(position < last for position in run.ends):
            wrong.append(f"streams ended at {run.ends}")
        attempts = _attempts(events)
        if len(attempts) > 1:
            self._shared.counts["runs that were begun more than once"] += 1
            self._shared.counts[f"runs that were begun {len(attempts)} times"] += 1
        numbers = [0, *(attempt[0][1].get("attempt", 1) for attempt in attempts)]
        if numbers != sorted(set(numbers)):
            wrong.append(f"attempts {numbers}")
        for number, attempt in zip(numbers[1:], attempts, strict=True):
            wrong += _wrong_attempt(number, attempt)
        tokens = attempts[-1][1:] if attempts else []
        match kind:
            case "complete":
                count = run.payload["tokens"]
                if record["output"] != end["output"] or end["output"] != {
                    "tokens": count,
                    "request": run.payload["request"],
                }:
                    wrong.append("the output is wrong")
                if len(tokens) != count:
                    wrong.append(f"{len(tokens)} of {count} tokens")
                if record["attempt"] != numbers[-1]:
                    wrong.append(f"completed in attempt {numbers[-1]}")
            case "error":
                if record["error"]["code"] != end["code"]:
                    wrong.append("the record has another error")
                wrong += self._wrong_error(run, end["code"], record["attempt"])
            case "cancelled":
                if end["reason"] not in run.reasons:
                    wrong.append("no client cancelled it")
        if run.cancelled and kind != "cancelled":
            wrong.append("its cancellation was confirmed")
        if wrong:
            self._shared.fail(run, f"{'; '.join(wrong)}: {kind} {end}, {record}")

    def _wrong_error(self, run: Tracked, code: str, attempt: int) -> list[str]:
        match code:
            case "WORKER_LOST" if self._service.retries:
                again = attempt < MAX_ATTEMPTS and not run.reasons
                return ["it was not begun again"] if again else []
            case "WORKER_LOST":
                owners = run.owners if run.accepted else self._service.started  # a run in doubt is queued
                dead = any(owner.may_be_dead for owner in owners)
                return [] if dead else ["its replica was alive"]
        return ["an unexpected error"]

    def _left(self) -> list[str]:
        """Return what the storage has of what has ended."""
        storage = self._service.storage
        found = [key for master in storage.masters for key in master.command("EVAL", _KEYS, 0)]
        names = {name.decode(): master for master in storage.masters for name in master.command("KEYS", "*")}
        left = []
        replicas = set(names[storage.keys.replicas].command("HKEYS", storage.keys.replicas))
        if (queue := names.get(storage.keys.queue)) is not None:
            left.append(f"the queue has {queue.command('ZRANGE', storage.keys.queue, 0, -1)}")
        if (sizes := names.get(storage.keys.job_sizes)) is not None:
            total = sizes.command("HGETALL", storage.keys.job_sizes)
            left += [f"sizes of jobs: {total}"] if total != {b"": b"0"} else []
        for name, ttl, job, readers in found:
            key = name.decode()
            left += [f"{key} does not expire"] if ttl < 0 else []
            left += [f"{key} has its job"] if job else []
            left += [key] if ":owned:" in key else []
            left += [f"{key} has {each}" for each in readers[::2] if each in replicas]
        return left

    async def _busy(self) -> list[str]:
        """Return the metrics of replicas that are not idle."""
        work = []
        for replica in self._service.current:
            metrics = (await self._ask(replica, "/metrics") or b"").decode()
            shown = {name: metric(metrics, name) if name in metrics else None for name in _METRICS}
            work += [f"{replica.process.url} has {name} {each}" for name, each in shown.items() if each != 0]
        return work

    async def _listed(self, query: str) -> AsyncIterator[dict[str, Any]]:
        """List runs, page by page."""
        cursor = ""
        while True:
            page = await self._get(f"/runs?{query}{cursor}")
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            cursor = f"&cursor={page['next']}"

    async def _get(self, path: str) -> dict[str, Any]:
        """Request a path of any replica until there is a response."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while (body := await self._ask(self._shared.replica(), path)) is None:
            assert time.monotonic() < deadline, path
            await asyncio.sleep(0.2)
        decoded: dict[str, Any] = msgspec.json.decode(body)
        return decoded

    async def _ask(self, replica: Replica, path: str) -> bytes | None:
        """Return the body of a response with status 200."""
        try:
            async with self._shared.session.get(replica.process.url + path) as response:
                return await response.read() if response.status == 200 else None
        except TROUBLE:
            return None

    def _wrong(self, what: str, value: object) -> None:
        self._shared.failures.append(f"{what}: {value}")


Event = tuple[str, dict[str, Any]]


def _attempts(events: list[Event]) -> list[list[Event]]:
    """Split the events of a run before each start."""
    attempts: list[list[Event]] = []
    for event in events:
        if event[0] == "started" or not attempts:
            attempts.append([])
        attempts[-1].append(event)
    return attempts


def _wrong_attempt(number: int, attempt: list[Event]) -> list[str]:
    """Return what is wrong with the events of an attempt."""
    (first, start), *rest = attempt
    wrong = []
    if first != "started":
        wrong.append(f"attempt {number} begins with {start}")
    if number > 1 and start.get("previous") not in ("worker_lost", "shutdown"):
        wrong.append(f"attempt {number} has no reason")
    numbers = [event.get("content") for kind, event in rest if kind == "token"]
    if numbers != [str(number) for number in range(len(rest))]:
        wrong.append(f"the tokens of attempt {number} are wrong")
    return wrong
