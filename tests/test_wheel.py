"""What is installed: the packages in the wheel, and those that an editable installation imports."""

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import msgspec
import pytest
from hatchling.build import build_editable, build_sdist, build_wheel

import dockrion_events
from dockrion import events

ROOT = Path(__file__).parents[1]
DEPENDENCIES = Path(msgspec.__file__).parents[1]
USE = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import dockrion, dockrion_events, dockrion_events.context
from dockrion_events import *
assert dockrion.__file__.startswith(sys.argv[1]) and dockrion_events.__file__.startswith(sys.argv[1])
assert StreamContext is dockrion.StreamContext is dockrion_events.context.StreamContext
assert get_current_context() is None
assert EventsFilter("chat").allows("token")
"""


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_source_distribution_can_be_tested_and_its_wheel_has_both_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / build_sdist(str(tmp_path))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    read = {"tests", "config", "pyproject.toml", "Dockerfile", ".dockerignore", "README.md", "CHANGELOG.md"}
    assert read <= {path.name for path in source.iterdir()}
    monkeypatch.chdir(source)
    wheel = tmp_path / build_wheel(str(tmp_path))
    packages = {name.partition("/")[0] for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packages == {"dockrion", "dockrion_events"}
    assert "dockrion_events/py.typed" in ZipFile(wheel).namelist()
    assert "dockrion/commands/templates/function/Dockfile.yaml" in ZipFile(wheel).namelist()
    # -S leaves out what editable installations add to the path.
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", USE, str(wheel), str(DEPENDENCIES)]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_dockrion_events_has_every_event_type_and_the_names_of_0_0_3() -> None:
    for struct in (events.MANDATORY | events.CONFIGURABLE).values():
        assert getattr(dockrion_events, struct.__name__) is struct
    old = [
        "Started",
        "Progress",
        "Checkpoint",
        "Token",
        "Step",
        "Complete",
        "Error",
        "Heartbeat",
        "Cancelled",
    ]
    for name in old:
        assert getattr(dockrion_events, f"{name}Event") is getattr(events, name)
    assert dockrion_events.BaseEvent is events.Event
    assert dockrion_events.EventsFilter is dockrion_events.EventFilter is events.EventFilter


def test_an_editable_installation_imports_both_packages_from_the_checkout(tmp_path: Path) -> None:
    with ZipFile(tmp_path / build_editable(str(tmp_path))) as wheel:
        (added,) = [name for name in wheel.namelist() if name.endswith(".pth")]
        paths = [Path(line) for line in wheel.read(added).decode().splitlines()]
    assert [(path / "dockrion").is_dir() for path in paths] == [True, False]
    assert [(path / "dockrion_events").is_dir() for path in paths] == [False, True]
