"""The Dockerfile, as far as it can be tested without building the image."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.guide.services import ROOT, free_port, running

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
BUILD, FINAL = TEXT.split("\nFROM ")[1:]


def exec_form(instruction: str) -> list[str]:
    """Return the arguments of an instruction that occurs once in the final stage."""
    (arguments,) = re.findall(rf"^{instruction} (\[.*\])$", FINAL, re.MULTILINE)
    return list(map(str, json.loads(arguments)))


def test_files_copied_into_the_build_stage_exist() -> None:
    sources = [
        source for line in re.findall(r"^COPY (.*)$", BUILD, re.MULTILINE) for source in line.split()[:-1]
    ]
    assert sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_final_image_is_slim_unprivileged_and_copies_only_the_build() -> None:
    assert FINAL.startswith("python:3.13-slim\n")
    assert re.findall(r"^USER (.*)$", FINAL, re.MULTILINE) == ["10001"]
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/dockrion /opt/dockrion"]
    assert "apt-get" not in TEXT


def test_the_image_serves_the_mounted_dockfile_and_its_health_check_passes() -> None:
    assert exec_form("ENTRYPOINT") == ["dockrion"]
    command = exec_form("CMD")
    assert command == ["run", "/app/Dockfile.yaml", "--host", "0.0.0.0", "--port", "8080"]
    python, *arguments = exec_form("HEALTHCHECK .*CMD")
    assert python == "python"
    port = free_port()
    check = [sys.executable, *(argument.replace("8080", str(port)) for argument in arguments)]
    with running(ROOT / "config" / Path(command[1]).name, port, ROOT):
        assert subprocess.run(check, check=False).returncode == 0
    assert subprocess.run(check, check=False, capture_output=True).returncode != 0
