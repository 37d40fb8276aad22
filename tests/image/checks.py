"""What must hold for the image; run by `python -m tests.image`."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guide.pages import blocks, page
from tests.image import base
from tests.image.conftest import IMAGE, ROOT
from tests.image.engine import CommandError, Container, Engine

CONFIG = ROOT / "config"
GUIDE = page("image")
URL = "http://127.0.0.1:8080"
WORKERS = ("run", "/app/redis.yaml", "--port", "8080", "--workers", "2")
LIMIT_MIB = 90  # what the image adds to its base
COMPILERS = {"cc", "c++", "gcc", "g++", "clang", "ld", "as", "make", "cargo", "rustc", "go", "git"}


def ready(container: Container) -> None:
    """Wait until the service accepts work."""
    deadline = time.monotonic() + 60
    while container.get(f"{URL}/ready") is None:
        assert time.monotonic() < deadline, container.logs()
        time.sleep(0.1)


def stream(container: Container, words: int, pause_ms: int = 0) -> subprocess.Popen[str]:
    """Start a run and its stream, and wait until the first token has arrived."""
    payload = json.dumps({"topic": "cats", "words": words, "pause_ms": pause_ms})
    reading = container.curl("--json", payload, f"{URL}/invoke/stream")
    assert reading.stdout
    for line in reading.stdout:
        if line == "event: token\n":
            return reading
    raise AssertionError("the stream has ended")


def last_event(reading: subprocess.Popen[str]) -> dict[str, object]:
    """Read a stream to its end, and return the last event."""
    with reading:
        assert reading.stdout
        output = reading.stdout.read()
    (*_, last) = (line for line in output.splitlines() if line.startswith("data: "))
    return dict(json.loads(last.removeprefix("data: ")))


@pytest.fixture(scope="module")
def files(engine: Engine) -> Iterator[Path]:
    """The files of the image."""
    with engine.mounted(IMAGE) as folder:
        yield folder


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Path]:
    """A Redis, and the folder of its socket."""
    tmp_path.chmod(0o755)
    socket = tmp_path / "socket"
    options = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "777", "--save", "")
    with subprocess.Popen(("redis-server", *options), cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        yield tmp_path
        server.terminate()


def test_a_change_of_code_changes_one_layer_and_rebuilds_no_dependency(
    engine: Engine, tmp_path: Path
) -> None:
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    shutil.copytree(CONFIG, tmp_path / "config")
    shutil.copytree(ROOT / "dockrion", tmp_path / "dockrion", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "dockrion/__init__.py").open("a") as code:
        code.write("# changed\n")
    steps = engine.build("localhost/changed", tmp_path).split("STEP ")
    install = [
        step for step in steps if "pip --python /opt/dockrion install" in step and "--require-hashes" in step
    ]
    assert install
    assert all("Using cache" in step for step in install)
    before, after = (engine.inspect(name)["RootFS"]["Layers"] for name in (IMAGE, "localhost/changed"))
    assert len(before) == len(after)
    assert [old == new for old, new in zip(before, after, strict=True)].count(False) == 1


def test_image_describes_itself(engine: Engine) -> None:
    labels = engine.inspect(IMAGE)["Config"]["Labels"]
    assert {
        f"org.opencontainers.image.{name}" for name in ("title", "description", "version", "licenses")
    } <= set(labels)


def test_image_is_small(engine: Engine) -> None:
    size = engine.inspect(IMAGE)["Size"] - engine.inspect(f"localhost/{base.NAME}")["Size"]
    print(f"the image adds {size / 2**20:.1f} MiB to its base")
    assert size < LIMIT_MIB * 2**20


def test_image_has_no_pip_caches_tests_or_compilers(files: Path) -> None:
    found = [path.relative_to(files) for path in files.rglob("*")]
    assert any(path.name == "dockrion" for path in found)
    assert not [path for path in found if path.name == "pip" or path.name.startswith(("pip-", "pip3"))]
    assert not [path for path in found if path.parent.name in {"bin", "sbin"} and path.name in COMPILERS]
    service = [path for path in found if path.is_relative_to("opt")]
    assert not [path for path in service if path.name in {"test_wheel.py", ".cache", ".git", "hatchling"}]
    names = ("root/.cache", "var/cache/apt", "var/lib/apt/lists", "src", "wheels", "tmp")
    left = [path for name in names for path in (files / name).rglob("*") if path.is_file()]
    assert not [path for path in left if path.stat().st_size]  # apt leaves empty locks


def test_image_has_the_packages_for_traces(files: Path) -> None:
    assert list(files.glob("opt/dockrion/lib/python*/site-packages/opentelemetry/sdk"))


def test_user_of_the_image_owns_no_file_and_may_change_none(files: Path) -> None:
    for folder in ("opt", "app"):
        for path in (files / folder).rglob("*"):
            status = path.lstat()
            assert status.st_uid == 0
            assert path.is_symlink() or not status.st_mode & 0o022


def test_service_works_on_a_read_only_root_and_writes_nothing(engine: Engine) -> None:
    with engine.running(IMAGE, CONFIG) as container:
        ready(container)
        assert container.execute("id", "--user").strip() == "10001"
        with pytest.raises(CommandError, match="Read-only file system"):
            container.execute("touch", "/opt/dockrion/file")
        assert container.passes_health_check()
        assert last_event(stream(container, words=3))["type"] == "complete"
        assert container.execute("find", "/dev/shm", "-mindepth", "1") == ""
        open_stream = stream(container, words=20, pause_ms=100)
        container.signal("TERM")
        assert last_event(open_stream)["type"] == "complete"
        assert container.exit_code() == 0


def test_workers_share_metrics_in_memory_and_end_open_streams(engine: Engine, redis: Path) -> None:
    options = ("--volume", f"{redis}:/redis", "--env", "REDIS_URL=unix:///redis/socket")
    with engine.running(IMAGE, CONFIG, *WORKERS, "--grace", "0.5", options=options) as container:
        ready(container)
        for _ in range(4):
            assert last_event(stream(container, words=3))["type"] == "complete"
        metrics = container.get(f"{URL}/metrics")
        assert metrics
        assert re.search(r'^dockrion_runs_total\{.*outcome="completed".*\} 4.0$', metrics, re.MULTILINE)
        assert "dockrion-metrics-" in container.execute("ls", "/dev/shm")
        open_stream = stream(container, words=100, pause_ms=1000)
        container.signal("TERM")
        assert last_event(open_stream)["code"] == "SHUTDOWN"
        assert container.exit_code() == 0


def test_workers_refuse_to_start_where_nothing_can_be_written(engine: Engine) -> None:
    options = ("--mount", "type=tmpfs,destination=/dev/shm,ro")
    with engine.running(IMAGE, CONFIG, *WORKERS, options=options) as container:
        assert container.exit_code() == 1
        assert "make /tmp writable" in container.logs()


def test_commands_of_the_guide_work(engine: Engine, tmp_path: Path) -> None:
    """They run the image as it is, with several processes, and with an agent and its requirements."""
    first, own, workers = (block.text for block in blocks(GUIDE, "console"))
    output = engine.shell(first, ROOT)
    assert '"text":"cats is a"' in output
    (code,), (dockfile,) = blocks(GUIDE, "python"), blocks(GUIDE, "yaml")
    recipe = next(block for block in blocks(GUIDE, "text") if block.text.startswith("FROM"))
    (requirement,) = re.findall(r"`requirements.txt`, has .*?, here `(.*)`", GUIDE.read_text())
    (tmp_path / "requirements.txt").write_text(requirement)
    (tmp_path / "agent.py").write_text(code.text)
    (tmp_path / "Dockfile.yaml").write_text(dockfile.text)
    (tmp_path / "Dockerfile").write_text(recipe.text)
    output = engine.shell(own, tmp_path)
    assert "No broken requirements found." in output
    assert '"text":"1.2 million"' in output
    assert "dockrion_active_runs" in engine.shell(workers, ROOT)
