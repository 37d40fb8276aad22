"""Metrics: their names, and labels with a bounded number of values."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from dockrion import events
from dockrion.events import Entry
from dockrion.metrics import Metrics, SharedValues

NAMES = {
    "dockrion_requests",
    "dockrion_request_seconds",
    "dockrion_active_requests",
    "dockrion_runs",
    "dockrion_active_runs",
    "dockrion_queued_runs",
    "dockrion_queue_oldest_seconds",
    "dockrion_queue_payload_bytes",
    "dockrion_kept_payload_bytes",
    "dockrion_queue_wait_seconds",
    "dockrion_output_errors",
    "dockrion_events",
    "dockrion_stored_bytes",
    "dockrion_evicted_runs",
    "dockrion_evicted_events",
    "dockrion_open_streams",
    "dockrion_event_delivery_seconds",
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the exposed samples: values by name and labels."""
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def entries(*kinds: str) -> list[Entry]:
    return [Entry(number, kind, b"{}", 0.0) for number, kind in enumerate(kinds, 1)]


def counted(metrics: Metrics) -> dict[str, float]:
    """Return the events counted, by type."""
    return {
        dict(labels)["type"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "dockrion_events_total"
    }


def test_metric_names() -> None:
    families = {family.name for family in text_string_to_metric_families(Metrics().exposition().decode())}
    assert {name for name in families if not name.endswith("_created")} == NAMES


def test_events_are_counted_by_type() -> None:
    metrics = Metrics()
    metrics.count_events(entries("started", "token", "token"))
    metrics.count_events(entries("token", "complete"))
    assert counted(metrics) == {"started": 1, "token": 3, "complete": 1}


def test_custom_events_share_one_label() -> None:
    metrics = Metrics()
    metrics.count_events(entries(*(f"custom:n{number}" for number in range(1_000))))
    assert counted(metrics) == {"custom": 1_000}


@pytest.mark.parametrize("event_type", [*events.MANDATORY, *events.CONFIGURABLE])
def test_every_event_type_has_a_label(event_type: str) -> None:
    metrics = Metrics()
    metrics.count_events(entries(event_type))
    assert counted(metrics) == {event_type: 1}


def test_an_empty_batch_counts_nothing() -> None:
    metrics = Metrics()
    metrics.count_events([])
    assert counted(metrics) == {}


def test_two_services_in_one_process_count_separately() -> None:
    one, other = Metrics(), Metrics()
    one.count_events(entries("token"))
    assert counted(other) == {}


def test_labels_are_limited_to_route_method_status_outcome_and_type() -> None:
    metrics = Metrics()
    metrics.requests.labels("GET", "/runs/{id}", "200").inc()
    metrics.request_seconds.labels("GET", "/runs/{id}").observe(0.1)
    metrics.runs.labels("completed").inc()
    metrics.count_events(entries("token"))
    names = {label for _, labels in samples(metrics) for label, _ in labels}
    assert names == {"method", "route", "status", "outcome", "type", "le"}
    assert samples(metrics)["dockrion_runs_total", (("outcome", "completed"),)] == 1


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


def test_of_several_processes_the_newest_state_of_their_queue_is_shown(tmp_path: Path) -> None:
    shown = "\n".join(subprocess.check_output(_shows_queue(tmp_path, number), text=True) for number in (3, 2))
    assert re.findall(r"^dockrion_queued_runs (.*)$", shown, re.MULTILINE) == ["3.0", "2.0"]


def _shows_queue(directory: Path, length: int) -> list[str]:
    """Return a command that runs a process of a service, whose queue has a length."""
    code = f"""
from dockrion import metrics
metrics.enable_multiprocess({str(directory)!r}, {length})
here = metrics.Metrics()
here.show_queue({length}, 0, 0)
print(here.exposition().decode())
"""
    return [sys.executable, "-c", code]
