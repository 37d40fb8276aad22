"""Metrics that worker processes share, in files."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dockrion.metrics import SharedValues


def stored(path: Path) -> dict[str, float]:
    """Return what another process reads from a file of values."""
    return {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(path)}


def is_allocated(path: Path) -> bool:
    """Return whether every block of a file is on the disk."""
    return path.stat().st_blocks * 512 >= path.stat().st_size


@contextmanager
def files_limited(size: int) -> Iterator[None]:
    """Let writes to files fail beyond a size, as they do on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_shared_values_are_never_written_to_holes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "counter_0.db"
    shared = SharedValues(str(path))
    for number in range(2_000):
        shared.write_value(f"{number:0100}", number, 0.0)
        assert is_allocated(path)
    assert len(stored(path)) == 2_000
    shared.close()


def test_shared_values_of_a_dead_worker_go_on(tmp_path: Path) -> None:
    path = str(tmp_path / "counter_0.db")
    first = SharedValues(path)
    first.write_value("a", 3.0, 0.0)
    first.close()
    second = SharedValues(path)
    assert second.read_value("a") == (3.0, 0.0)
    assert second.read_value("b") == (0.0, 0.0)
    second.close()


def test_values_count_on_while_there_is_no_room_and_are_stored_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "counter_0.db"
    shared = SharedValues(str(path))
    with files_limited(64 * 1024):
        for number in range(1_000):
            shared.write_value(f"{number:0100}", number, 0.0)
            assert shared.read_value(f"{number:0100}")[0] in (number, 0.0)
    kept = len(stored(path))
    assert 300 < kept < 1_000
    assert [record.message for record in caplog.records] == ["metrics cannot be stored at present"]
    for number in range(1_000):
        shared.write_value(f"{number:0100}", number, 0.0)
    assert stored(path) == {f"{number:0100}": number for number in range(1_000)}
    assert is_allocated(path)
    shared.close()


def test_file_without_room_is_not_seen_by_other_processes(tmp_path: Path) -> None:
    shared = SharedValues(str(tmp_path / "counter_0.db"))
    with files_limited(10_000):
        shared.write_value("a", 1, 0.0)
    assert not list(tmp_path.glob("*.db"))
    shared.write_value("a", 2, 0.0)
    assert stored(tmp_path / "counter_0.db") == {"a": 2}
    shared.close()


def test_values_without_a_file_are_stored_when_there_can_be_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gone" / "counter_0.db"
    shared = SharedValues(str(path))
    for number in range(10):
        assert shared.read_value("a") == (0.0, 0.0)
        shared.write_value("a", number, 0.0)
    assert len(caplog.records) == 1
    path.parent.mkdir()
    shared.write_value("a", 10, 0.0)
    assert stored(path) == {"a": 10}
    shared.close()


def test_of_several_processes_the_newest_queue_and_all_durations_are_shown(tmp_path: Path) -> None:
    first, second = (subprocess.check_output(_process(tmp_path, number), text=True) for number in (3, 2))
    assert re.findall(r"^dockrion_queued_runs\{.*\} (.*)$", first + second, re.MULTILINE) == ["3.0", "2.0"]
    families = {family.name: family for family in text_string_to_metric_families(second)}
    buckets = {
        sample.labels["le"]: (sample.value, sample.exemplar and sample.exemplar.labels["span_id"])
        for sample in families["dockrion_run_duration_seconds"].samples
        if sample.name.endswith("_bucket") and 1 <= float(sample.labels["le"]) <= 5
    }
    # Both processes are summed; only the one that was asked knows its exemplars.
    assert buckets == {"1.0": (0, None), "2.5": (1, f"{2:016x}"), "5.0": (2, None)}


def _process(directory: Path, number: int) -> list[str]:
    """Return a command that runs a process of a service, whose queue is as long as a run in it takes."""
    code = f"""
from dockrion import metrics
from dockrion.caller import CallerRequest, set_current_request
metrics.enable_multiprocess({str(directory)!r}, {number})
here = metrics.Metrics("tested")
here.queue.show({number}, 0, 0)
set_current_request(CallerRequest("00-{number:032x}-{number:016x}-01"))
here.runs.count_duration("completed", {number})
print(here.exposition("application/openmetrics-text")[0].decode(), end="")
"""
    return [sys.executable, "-c", code]
