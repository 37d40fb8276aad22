"""Which runs there are, in the order of their creation."""

import time

from dockrion.backends.redis import records
from dockrion.backends.redis.client import Link
from dockrion.backends.redis.keys import REGISTER, Command, Keys
from dockrion.backends.run_log import MAX_SCANNED, Listing, Run, Status

_CHUNK = 100
_UNCONFIRMED_SECONDS = 60.0  # an entry is older than its run, but not by more


class Index:
    """Lists runs. An entry may be there without its run, never a run without its entry.

    Args:
        link: The connections.
        keys: The names.
        live_ttl: Seconds an unfinished run is kept when nobody renews it.
    """

    def __init__(self, link: Link, keys: Keys, *, live_ttl: int) -> None:
        self._link = link
        self._keys = keys
        self._live_ttl = live_ttl

    def registration(self, replica: str, run: Run) -> Command:
        """Return the command that lists a run, and makes it known as a replica's."""
        keys = self._keys
        look_at = time.time() + self._live_ttl
        return REGISTER(
            (keys.replicas, keys.owned(replica), keys.expiry, *keys.indexes(run.owner)),
            replica,
            run.run_id,
            records.index_entry(run),
            look_at,
            self._live_ttl,
        )

    async def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None
    ) -> Listing[Run]:
        """Return runs, newest first, without their outputs; see `Backend.recent`.

        Raises:
            BadCursor: The cursor is malformed.
        """
        where = self._keys.indexes(owner)[-1]
        reached = None if cursor is None else records.checked_cursor(cursor)
        found: list[tuple[str, Run]] = []
        left = MAX_SCANNED
        while left:
            count = min(max(limit + 1, _CHUNK), left)
            upper = "+" if reached is None else f"({reached}"
            (listed,) = await self._link.send(("ZREVRANGEBYLEX", where, upper, "-", "LIMIT", 0, count))
            entries = [entry.decode() for entry in listed]
            for entry, run in await self._listed(where, entries):
                if (status is None or run.status == status) and (owner is None or run.owner == owner):
                    if len(found) == limit:
                        return Listing([run for _, run in found], found[-1][0])
                    found.append((entry, run))
            if len(entries) < count:
                reached = None
                break
            reached = entries[-1]
            left -= count
        return Listing([run for _, run in found], reached)

    async def _listed(self, where: str, entries: list[str]) -> list[tuple[str, Run]]:
        """Return those entries of an index whose runs are there, and forget the others."""
        if not entries:
            return []
        run_keys = [self._keys.run(records.run_id_of(entry)) for entry in entries]
        replies = await self._link.send(*(("HMGET", key, "record", "entry") for key in run_keys))
        there: list[tuple[str, Run]] = []
        gone: list[str] = []
        newest = records.index_time(time.time() - _UNCONFIRMED_SECONDS)
        for entry, (record, named) in zip(entries, replies, strict=True):
            if record is not None and named == entry.encode():
                there.append((entry, records.decode_run(record)))
            elif entry < newest:
                gone.append(entry)
        if gone:
            indexes = {where, self._keys.runs, self._keys.expiry}
            await self._link.send(*(("ZREM", index, *gone) for index in indexes))
        return there
