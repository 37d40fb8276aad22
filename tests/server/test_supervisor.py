"""What a supervisor shares with its workers."""

import fcntl
import shutil
import tempfile
from pathlib import Path

import pytest

from dockrion.server import supervisor


def test_shared_directory_that_another_supervisor_removes_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one starts at the same time, and finds the directory before it is locked."""
    lock, made = fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        made.append(descriptor)
        if len(made) == 1:
            shutil.rmtree(next(tmp_path.iterdir()))
        lock(descriptor, operation)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", remove_first)
    with supervisor._shared_directory() as directory:
        assert list(tmp_path.iterdir()) == [Path(directory)]
    assert not list(tmp_path.iterdir())
