"""The checks after the chaos, when everything is up again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from dockrion.events import TERMINAL
from tests.chaos.cluster import PASSWORD, Cluster, Replica
from tests.chaos.readers import TROUBLE, Shared, Tracked

_STATUS = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}
_UNFINISHED = ("accepted", "running")
_TIMEOUT_SECONDS = 45.0
_METRICS = ("dockrion_open_streams 0.0", "dockrion_active_runs 0.0")
# Keys that should not be there: without expiry, owned runs, readers of registered replicas.
_LEFT = """
local left = {}
local replicas = redis.call('HKEYS', 'dockrion:tested:{service}:replicas')
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TTL', key) < 0 then left[#left + 1] = key .. ' does not expire' end
  if string.find(key, ':owned:', 1, true) then left[#left + 1] = key end
  if string.find(key, ':watchers$') then
    for _, replica in ipairs(replicas) do
      local readers = redis.call('HGET', key, replica)
      if readers then left[#left + 1] = key .. ' has ' .. replica .. ': ' .. readers end
    end
  end
end
return left
"""


class Verdict:
    """Compares what clients, replicas and Redis say, and records what is wrong.

    Args:
        cluster: Its replicas and its Redis are up again.
        shared: What the clients share.
    """

    def __init__(self, cluster: Cluster, shared: Shared) -> None:
        self._cluster = cluster
        self._shared = shared

    async def until_ready(self) -> None:
        """Wait until every replica is ready."""
        for replica in self._cluster.current:
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

    async def check_runs(self, runs: Iterable[Tracked]) -> None:
        """Compare what the clients have seen with the records of the runs."""
        listed = {item["run_id"]: item async for item in self._listed("limit=200")}
        for record in listed.values():
            self._shared.counts[
                f"runs {record['status']} {(record['error'] or {}).get('code', '')}".strip()
            ] += 1
        for run in runs:
            if run.run_id not in listed:
                self._shared.fail(run, "not listed")
            else:
                self._check_run(run, await self._get(f"/runs/{run.run_id}"), listed[run.run_id])

    async def until_idle(self) -> None:
        """Wait until replicas and Redis have released everything that has ended."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while left := self._cluster.server.command("EVAL", _LEFT, 0) + await self._busy():
            if time.monotonic() > deadline:
                self._wrong("left", left[:5])
                break
            await asyncio.sleep(0.2)

    def check_logs(self) -> None:
        """Check the logs of all replicas, killed ones included."""
        for life, replica in enumerate(self._cluster.started):
            if replica.process.err:
                self._wrong(f"stderr of replica {life}", replica.process.err[:2000])
            if PASSWORD in replica.process.out + replica.process.err:
                self._wrong(f"password in the log of replica {life}", "")
            if not replica.killed and replica.process.popen.poll() is not None:
                self._wrong(f"replica {life} ended by itself", replica.process.popen.returncode)
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
        whole = {**record, "output": None, "truncated": False, "input_excerpt": None}
        if whole != {**listed, "output": None, "input": None}:
            wrong.append("the listing does not match")
        if any(position < last for position in run.ends):
            wrong.append(f"streams ended at {run.ends}")
        tokens = [event["content"] for event_type, event in events if event_type == "token"]
        if tokens != [str(number) for number in range(len(tokens))] or len(tokens) != max(len(events) - 1, 0):
            wrong.append("the tokens are wrong")
        match kind:
            case "complete":
                if record["output"] != end["output"] or end["output"] != {"tokens": run.tokens}:
                    wrong.append("the output is wrong")
                if len(tokens) != run.tokens:
                    wrong.append(f"{len(tokens)} of {run.tokens} tokens")
            case "error":
                if record["error"]["code"] != end["code"]:
                    wrong.append("the record has another error")
                if end["code"] != "WORKER_LOST" and (run.accepted or end["code"] != "SERVICE_UNAVAILABLE"):
                    wrong.append("an unexpected error")
                if end["code"] == "WORKER_LOST" and not any(owner.may_be_dead for owner in run.owners):
                    wrong.append("its replica was alive")
            case "cancelled":
                if end["reason"] not in run.reasons:
                    wrong.append("no client cancelled it")
        if run.cancelled and kind != "cancelled":
            wrong.append("its cancellation was confirmed")
        if wrong:
            self._shared.fail(run, f"{'; '.join(wrong)}: {kind} {end}, {record}")

    async def _busy(self) -> list[str]:
        """Return the metrics of replicas that are not idle."""
        work = []
        for replica in self._cluster.current:
            metrics = (await self._ask(replica, "/metrics") or b"").decode().splitlines()
            work += [f"{replica.process.url} has no {line}" for line in _METRICS if line not in metrics]
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
