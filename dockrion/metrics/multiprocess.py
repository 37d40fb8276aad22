"""Metrics that several worker processes share, in files."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client import Metric, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from dockrion.logs import log

_logger = logging.getLogger(__name__)
_FILE_BYTES = 64 * 1024  # of a new file
_VALUE_BYTES = 32  # at most, beside its key
_PREFIX = "dockrion_"

# Ignore PROMETHEUS_MULTIPROC_DIR unless `enable_multiprocess` is called: it may be set for another program,
# and its directory may be missing or contain that program's files.
values.ValueClass = values.MutexValue


def enable_multiprocess(directory: str, number: int) -> None:
    """Share metrics with the other worker processes.

    Args:
        directory: The directory of the metrics files.
        number: The number of this process among the workers; a process that replaces another takes over its
            number, and its files.
    """
    with suppress(OSError):
        Path(directory).mkdir(mode=0o700, exist_ok=True)  # a cleaner of /tmp may have deleted it
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    vars(values)["MmapedDict"] = SharedValues  # the class of its files, for which there is no parameter
    values.ValueClass = _with_exemplars(values.MultiProcessValue(process_identifier=lambda: number))
    AllProcesses.directory = directory


def discard_process(directory: str, number: int) -> None:
    """Remove the gauges of a process that ended.

    Args:
        directory: The directory of the metrics files.
        number: The number of the process.
    """
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  memory: only needed with several processes

    mark_process_dead(number, directory)


class SharedValues(MmapedDict):
    """Values of a worker in a file that the others read; without room for the file it only counts on.

    Writing to a mapped file where it has no disk blocks, and there are no more, ends the process (SIGBUS).
    So the blocks are allocated first. A value is in the file once it is written while there is room.

    Args:
        filename: The file, which may be that of a dead worker.
    """

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._opened = False
        self._complete = True
        self._positions: dict[str, int] = {}

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value and its timestamp, 0 by default."""
        return super().read_value(key) if self._has_room(key) else (0.0, 0.0)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Set a value."""
        if self._has_room(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the file."""
        if self._opened:
            super().close()  # type: ignore[no-untyped-call]

    def _has_room(self, key: str) -> bool:
        if key in self._positions:
            return True
        try:
            self._make_room(len(key.encode()) + _VALUE_BYTES)
        except OSError as error:
            if self._complete:
                self._complete = False
                log(_logger, logging.ERROR, "metrics cannot be stored at present", reason=str(error))
            return False
        self._complete = True
        return True

    def _make_room(self, more: int) -> None:
        if not self._opened:
            if not self._path.exists():
                incomplete = self._path.with_suffix(".incomplete")  # which no other process reads
                _allocate(incomplete, _FILE_BYTES)
                incomplete.replace(self._path)
            super().__init__(str(self._path))  # type: ignore[no-untyped-call]
            self._opened = True
        size = self._capacity
        while size < self._used + more:
            size *= 2
        if size > self._capacity:
            _allocate(self._path, size)


def _allocate(path: Path, size: int) -> None:
    """Extend a file to a size, without holes."""
    with path.open("ab") as file:
        file.write(bytes(max(size - file.tell(), 0)))


def _with_exemplars(shared_value: Any) -> Any:
    """Return a class of shared values that keeps the exemplars of this process, which the library drops."""

    class ValueWithExemplar(shared_value):  # type: ignore[misc]
        _exemplar: Exemplar | None = None

        def set_exemplar(self, exemplar: Exemplar) -> None:
            self._exemplar = exemplar

        def get_exemplar(self) -> Exemplar | None:
            return self._exemplar

    return ValueWithExemplar


class AllProcesses(Collector):
    """The sums over all processes, without metrics that the agent's code defines.

    Exemplars are not in the files: there are those of this process.

    Args:
        own: The metrics of this process.

    Attributes:
        directory: The directory of the metrics files, or None with one process.
    """

    directory: ClassVar[str | None] = None

    def __init__(self, own: Collector) -> None:
        self._own = own

    @classmethod
    def available(cls) -> bool:
        """Return whether there are files of several processes."""
        return cls.directory is not None and Path(cls.directory).is_dir()  # a cleaner of /tmp, as above

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  memory, as above

        exemplars = {
            _identity(sample): sample.exemplar
            for metric in self._own.collect()
            for sample in metric.samples
            if sample.exemplar is not None
        }
        for metric in MultiProcessCollector(None, self.directory).collect():
            if metric.name.startswith(_PREFIX):
                if exemplars and metric.type == "histogram":
                    metric.samples = [
                        sample._replace(exemplar=exemplars.get(_identity(sample)))
                        for sample in metric.samples
                    ]
                yield metric


def _identity(sample: Sample) -> tuple[str, frozenset[tuple[str, str]]]:
    return sample.name, frozenset(sample.labels.items())
