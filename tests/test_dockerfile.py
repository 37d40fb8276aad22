"""The Dockerfile, as far as it can be tested without building the image, as `python -m tests.image` does."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from dockrion import __version__
from tests.guide.services import ROOT, running
from tests.image.constraints import project
from tests.servers import free_port

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
*BUILD, FINAL = TEXT.split("\nFROM ")[1:]


def exec_form(instruction: str) -> list[str]:
    """Return the arguments of an instruction that occurs once in the final stage."""
    (arguments,) = re.findall(rf"^{instruction} (\[.*\])$", FINAL, re.MULTILINE)
    return list(map(str, json.loads(arguments)))


def health_check(port: int) -> list[str]:
    """Return the command of the health check for a port, and with time enough for a busy machine."""
    python, option, code = exec_form("HEALTHCHECK .*CMD")
    assert (python, code.count("timeout=1")) == ("python", 2)
    return [sys.executable, option, code.replace("timeout=1", "timeout=60").replace("8080", str(port))]


def copied() -> list[str]:
    """Return the files and folders that are copied into stages of the build."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_context_of_the_build_is_what_is_copied_from_it_without_byte_code() -> None:
    everything, *admitted, byte_code = (ROOT / ".dockerignore").read_text().split()
    assert (everything, byte_code) == ("*", "**/__pycache__")
    patterns = [each.removeprefix("!") for each in admitted]
    assert all(any(fnmatch(source, each) for each in patterns) for source in copied())
    assert all(any(fnmatch(source, each) for source in copied()) for each in patterns)
    assert all((ROOT / source).exists() for source in copied())


def test_the_final_image_is_slim_unprivileged_and_copies_only_the_build() -> None:
    assert FINAL.startswith("python:3.13-slim\n")
    assert re.findall(r"^USER (.*)$", FINAL, re.MULTILINE) == ["10001"]
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == [
        "--from=dependencies /opt/dockrion /opt/dockrion",
        "--from=service /service /opt/dockrion",
    ]
    assert "apt-get" not in TEXT


def test_everything_that_pip_installs_from_an_index_is_a_wheel_with_a_known_hash() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install (.*?)(?: &&|$)", "".join(BUILD), re.MULTILINE)
    assert len(installs) == 3
    assert all("--require-hashes" in each and "--only-binary :all:" in each for each in installs[:2])
    assert installs[2].endswith("--no-deps --prefix /service /wheels/*.whl")
    assert "pip wheel --no-cache-dir --no-deps --no-build-isolation" in TEXT


def test_the_labels_are_those_of_the_project() -> None:
    metadata = project()["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', FINAL))
    assert labels.pop("title").lower() == metadata["name"]
    assert labels == {
        "description": metadata["description"],
        "version": __version__,
        "licenses": metadata["license"],
    }


def test_the_image_serves_the_mounted_dockfile_and_its_health_check_passes() -> None:
    assert exec_form("ENTRYPOINT") == ["dockrion"]
    command = exec_form("CMD")
    assert command == ["run", "/app/Dockfile.yaml", "--host", "0.0.0.0", "--port", "8080"]
    port = free_port()
    check = health_check(port)
    with running(ROOT / "config" / Path(command[1]).name, port, ROOT):
        assert subprocess.run(check, check=False).returncode == 0
    assert subprocess.run(check, check=False, capture_output=True).returncode != 0
