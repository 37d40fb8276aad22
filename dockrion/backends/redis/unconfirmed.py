"""Runs that may be stored although their creation was reported as failed, since its reply was lost."""

from collections.abc import Iterator

import msgspec

from dockrion.backends.run_log import Run


class UnconfirmedRun(msgspec.Struct, eq=False):
    """A run that may be stored.

    Attributes:
        run: Its record.
        owner: Its owner, if it is stored: this replica or `QUEUE`.
        job: What a replica needs to begin it, if it is to be begun then; None if it is to be ended.
    """

    run: Run
    owner: str
    job: bytes | None = None


class UnconfirmedRuns:
    """The runs of this replica that may be stored, until the background work has looked (see `reaper`)."""

    def __init__(self) -> None:
        self._runs: dict[str, UnconfirmedRun] = {}  # by incarnation

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[UnconfirmedRun]:
        return iter(list(self._runs.values()))

    def __contains__(self, run_id: object) -> bool:
        return any(each.run.run_id == run_id for each in self._runs.values())

    def add(self, run: Run, owner: str) -> None:
        """Add a run whose creation is reported as failed.

        Args:
            run: Its record.
            owner: Its owner, if it is stored.
        """
        self._runs[run.incarnation] = UnconfirmedRun(run, owner)

    def begin_if_stored(self, run: Run, job: bytes) -> None:
        """Let a run be begun instead of ended; see `WorkQueue`."""
        if (unconfirmed := self._runs.get(run.incarnation)) is not None:
            unconfirmed.job = job

    def remove(self, run: Run) -> bool:
        """Remove a run whose fate is known now; return whether it was there."""
        return self._runs.pop(run.incarnation, None) is not None
