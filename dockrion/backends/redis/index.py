"""The list of runs in order of creation, kept in sorted sets beside the runs.

There is one set of all runs, one for each caller, and one ordered by when to check whether a run has
expired. A run's entry is added before the run is stored, and remains when the run expires. So an
entry may lack a run, but no run lacks its entry; readers skip such entries and remove them.
"""

import time

from dockrion.backends.redis import records
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import Command, Keys
from dockrion.backends.run_log import MAX_SCANNED, Listing, Run, Status

_CHUNK = 100
_UNCONFIRMED_SECONDS = 60.0  # an entry may be that much older than its run
_SETTLE_SECONDS = 60  # between the expiry of keys and the check for it


def expiry_check(ttl: float) -> float:
    """Return when to check whether a run has expired that was given a time to live now."""
    return time.time() + ttl + _SETTLE_SECONDS


class Index:
    """Lists runs.

    Args:
        client: The connections.
        keys: The names.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None, waiting: bool
    ) -> Listing[Run]:
        """Return runs, newest first, without their outputs; see `RunLog.recent`."""
        index = self._keys.indexes(owner)[-1]
        reached = None if cursor is None else records.checked_cursor(cursor)
        matching: list[tuple[str, Run]] = []
        left = MAX_SCANNED
        while left:
            count = min(max(limit + 1, _CHUNK), left)
            upper = "+" if reached is None else f"({reached}"
            (names,) = await self._client.send(("ZREVRANGEBYLEX", index, upper, "-", "LIMIT", 0, count))
            entries = [name.decode() for name in names]
            for entry, run in await self._runs_of(index, entries):
                listed = (status is None or run.status == status) and (owner is None or run.owner == owner)
                if listed and (run.waiting_for or not waiting):
                    if len(matching) == limit:
                        return Listing([run for _, run in matching], matching[-1][0])
                    matching.append((entry, run))
            if len(entries) < count:
                reached = None
                break
            reached = entries[-1]
            left -= count
        return Listing([run for _, run in matching], reached)

    async def prune(self) -> list[str]:
        """Remove the entries of runs that have expired.

        Returns:
            The ids of runs that are unfinished, although they should have expired.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        expiry, send = self._keys.expiry, self._client.send_background
        overdue: list[str] = []
        while True:
            now = time.time()
            (due,) = await send(("ZRANGEBYSCORE", expiry, "-inf", now, "LIMIT", 0, _CHUNK))
            if not due:
                return overdue
            run_keys = [self._keys.run(records.run_id_of(entry.decode())) for entry in due]
            stored = await send(*(("HMGET", key, "entry", "closed") for key in run_keys), ordered=0)
            expired: list[bytes] = []
            commands: list[Command] = []
            for entry, (name, closed) in zip(due, stored, strict=True):
                if entry != name:
                    expired.append(entry)
                    continue
                commands.append(("ZADD", expiry, now + _SETTLE_SECONDS, entry))
                if not closed:
                    overdue.append(records.run_id_of(entry.decode()))
            if expired:
                commands += [("ZREM", index, *expired) for index in (self._keys.runs, expiry)]
            await send(*commands)

    async def _runs_of(self, index: str, entries: list[str]) -> list[tuple[str, Run]]:
        """Return the entries of an index that have runs, with these, and remove the others."""
        if not entries:
            return []
        run_keys = [self._keys.run(records.run_id_of(entry)) for entry in entries]
        read = (("HMGET", key, "record", "entry") for key in run_keys)
        replies = await self._client.send(*read, ordered=0)
        stored: list[tuple[str, Run]] = []
        expired: list[str] = []
        newest = records.index_time(time.time() - _UNCONFIRMED_SECONDS)
        for entry, (record, name) in zip(entries, replies, strict=True):
            if record is not None and name == entry.encode():
                stored.append((entry, records.decode_summary(record)))
            elif entry < newest:
                expired.append(entry)
        if expired:
            await self._remove(index, expired, newest)
        return stored

    async def _remove(self, index: str, expired: list[str], newest: str) -> None:
        """Remove the entries of expired runs from all indexes.

        Args:
            index: Where they were found; the set of a caller loses all older entries than any run has, since
                nothing else removes them while the caller creates no runs.
            expired: The entries.
            newest: A text that sorts after the entries of all expired runs.
        """
        runs, expiry = self._keys.runs, self._keys.expiry
        (oldest,) = await self._client.send(("ZRANGE", runs, 0, 0))
        bound = oldest[0].decode() if oldest else newest
        await self._client.send(
            *(("ZREM", each, *expired) for each in {index, runs, expiry}),
            *([] if index == runs else [("ZREMRANGEBYLEX", index, "-", f"({bound}")]),
        )
