"""The configurations of proxies in `config/deploy` are valid, and fit what a service does by default."""

import re
import subprocess
from pathlib import Path

import pytest

from dockrion.dockfile.agent_structs import ArgumentsSpec
from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.dockfile.streaming_structs import EventsSpec
from tests.proxies.programs import FOLDER, PROGRAMS, Program

BY_NAME = {program.name: program for program in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS, ids=BY_NAME)
def test_the_program_accepts_its_configuration(program: Program, tmp_path: Path) -> None:
    path = tmp_path / program.file
    path.write_text(program.configuration([8081, 8082]))
    checked = subprocess.run(
        program.command(program.check, path), capture_output=True, text=True, check=False
    )
    said = checked.stdout + checked.stderr
    complaints = re.findall(
        r'(?i)^.*(?:\[(?:warn|alert|emerg)|"level":"(?:warn|error)").*$', said, re.MULTILINE
    )
    assert (checked.returncode, complaints) == (0, [])


def test_time_outs_are_longer_than_heartbeats_and_invocations() -> None:
    reading = {}
    for name, pattern in {
        "nginx.conf": r"proxy_read_timeout (\d+)s",
        "haproxy.cfg": r"timeout server (\d+)s",
    }.items():
        (reading[name],) = map(int, re.findall(pattern, (FOLDER / name).read_text()))
    assert min(reading.values()) > ArgumentsSpec().timeout_sec
    (sending,) = map(int, re.findall(r"timeout client (\d+)s", (FOLDER / "haproxy.cfg").read_text()))
    assert min(sending, *reading.values()) > 2 * EventsSpec().heartbeat_interval


def test_nginx_takes_larger_bodies_than_the_service() -> None:
    (size,) = map(int, re.findall(r"client_max_body_size (\d+)m", (FOLDER / "nginx.conf").read_text()))
    assert size * 2**20 > LimitsSpec().max_body_bytes
