"""A replica of the version before the work queue, as far as Redis and the other replicas notice it.

`earlier_scripts/` holds that version's scripts, and the methods send what it sends. It knows no format, no
declarations, no queue, no attempts and no unlisted runs.
"""

import json
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.backends.service import Service

_SCRIPTS = Path(__file__).parent / "earlier_scripts"
_PRELUDE = (_SCRIPTS / "prelude.lua").read_text()
_TTL = 60
_LIVE = 3720
INCARNATION = "0123456789abcdef"
RECORD: dict[str, Any] = {
    "run_id": "",
    "status": "running",
    "created_at": "2026-01-01T12:00:00.000005Z",
    "started_at": "2026-01-01T12:00:00.5Z",
    "completed_at": None,
    "input": None,
    "input_excerpt": None,
    "output": None,
    "error": None,
    "metadata": {"agent": "tested"},
    "last_sequence": 0,
    "waiting_for": None,
    "owner": None,
    "incarnation": INCARNATION,
    "truncated": False,
}


class EarlierReplica:
    """One replica, which does what a test tells it to."""

    def __init__(self, service: Service, name: str = "earlier") -> None:
        self._service = service
        self._keys = service.keys
        self.name = name
        self.beat()

    def beat(self) -> None:
        keys = self._keys
        used = [keys.replicas, keys.owned(self.name), keys.inbox(self.name), keys.expiry]
        self._run("beat", used, self.name, _LIVE, 120, time.time() + _TTL)

    def create(self, run_id: str, body: str = "", **changes: Any) -> None:
        keys, record = self._keys, RECORD | changes | {"run_id": run_id}
        indexes = keys.indexes(record["owner"])
        entry = self._entry(run_id)
        service = [keys.replicas, keys.owned(self.name), keys.expiry, *indexes]
        self._run("register", service, self.name, run_id, entry, time.time() + _LIVE, _LIVE)
        text = json.dumps(record, separators=(",", ":"))
        assert self._run("create", self._log(run_id), self.name, INCARNATION, text, entry, _LIVE, body) == 1

    def append(
        self,
        run_id: str,
        first: int,
        *types: str,
        status: str = "running",
        owned_by: str = "",
        **changes: Any,
    ) -> list[bytes]:
        """Append events, and notify those who watch; return the script's reply."""
        last = first + len(types) - 1
        record = RECORD | changes | {"run_id": run_id, "status": status, "last_sequence": last}
        closes = status not in ("accepted", "running")
        text = json.dumps(record, separators=(",", ":"))
        parts = [
            part for n, each in enumerate(types) for part in (each, "1.5", f'{{"sequence":{first + n}}}')
        ]
        reply: list[bytes] = self._run(
            "append",
            self._log(run_id),
            *(owned_by or self.name, record["incarnation"], self._entry(run_id, record), first, 20),
            *(_TTL if closes else _LIVE, text, "", int(closes), 0, "", 2**20, msgspec.msgpack.encode(parts)),
        )
        if reply[0] == b"ok":
            for watcher in reply[1:]:
                self._send(watcher.decode(), "run", run_id)
        return reply

    def watch(self, run_id: str, incarnation: str) -> list[bytes]:
        keys = [self._keys.run(run_id), self._keys.watchers(run_id)]
        reply: list[bytes] = self._run("watch", keys, self.name, incarnation, 1, 100, _LIVE)
        return reply

    def cancel(self, run_id: str, reason: str) -> None:
        encoded = json.dumps(reason)
        owner, incarnation = self._run("cancel", [self._keys.run(run_id)], "*", encoded)
        self._send(owner.decode(), "run", run_id, "incarnation", incarnation, "cancel", encoded)

    def renew(self, run_id: str, incarnation: str = INCARNATION) -> list[Any]:
        reply: list[Any] = self._run("renew", self._log(run_id), self.name, incarnation, _LIVE)
        return reply

    def reap(self, dead: str) -> list[bytes]:
        """End the runs of a dead replica; return the reply of the script for each."""
        keys, service = self._keys, self._service
        replies: list[bytes] = []
        for run_id in map(bytes.decode, service.ask("SMEMBERS", keys.owned(dead))):
            stored = service.ask("HGET", keys.run(run_id), "record")
            if stored is not None and not (record := self.decoded(stored))["completed_at"]:
                first = record.pop("last_sequence") + 1
                changes = {name: value for name, value in record.items() if name not in ("run_id", "status")}
                changes["completed_at"] = "2026-01-01T12:00:01Z"
                reply = self.append(run_id, first, "error", status="failed", owned_by=dead, **changes)
                replies.append(reply[0])
            service.ask("SREM", keys.owned(dead), run_id)
        service.ask("HDEL", keys.replicas, dead)
        service.ask("DEL", keys.inbox(dead))
        return replies

    def messages(self) -> list[dict[str, str]]:
        """Return the messages in its inbox."""
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in self._service.ask("XRANGE", self._keys.inbox(self.name), "-", "+")
        ]

    def decoded(self, record: bytes) -> dict[str, Any]:
        """Return what the replica sees of a record: it ignores other fields."""
        stored = json.loads(record)
        return {name: stored.get(name, default) for name, default in RECORD.items()}

    def _send(self, replica: str, *fields: str | bytes) -> None:
        self._service.ask(
            "XADD", self._keys.inbox(replica), "NOMKSTREAM", "MAXLEN", "~", 10_000, "*", *fields
        )

    def _log(self, run_id: str) -> list[str]:
        return [*self._keys.log(run_id), self._keys.watchers(run_id)]

    def _entry(self, run_id: str, record: dict[str, Any] = RECORD) -> str:
        if record["created_at"] == RECORD["created_at"]:
            return f"01767268800000005:{run_id}"
        return str(self._service.ask("HGET", self._keys.run(run_id), "entry").decode())

    def _run(self, name: str, keys: list[str], *arguments: Any) -> Any:
        text = _PRELUDE + (_SCRIPTS / f"{name}.lua").read_text()
        return self._service.ask("EVAL", text, len(keys), *keys, *arguments)
