"""Mutated Dockfiles are refused with errors, or served."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile import DockfileError, load, summary, unserved
from dockrion.web.app import create_app
from tests.fuzz.harness import fuzz_settings
from tests.fuzz.requests import mutate

ROOT = Path(__file__).parents[2]
EVERY_LIMIT = b"""
limits:
  max_body_bytes: 1048576
  max_header_bytes: 4096
  max_query_bytes: 4096
  max_event_bytes: ${BYTES:-65536}
  max_json_depth: 20
  max_events_per_run: 1000
  max_connections_per_caller: 10
  body_timeout: 5
  idle_timeout: 10
"""
VALID = [path.read_bytes() + EVERY_LIMIT for path in sorted((ROOT / "config").glob("*.yaml"))]
ENVIRONMENT = {"REDIS_URL": "redis://127.0.0.1", "AGENT_URL": "http://127.0.0.1:1"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "Dockfile.yaml"


@fuzz_settings(150)
@given(content=st.sampled_from(VALID), seed=st.integers(0, 2**32), times=st.integers(0, 4))
def test_a_mutated_dockfile_is_refused_or_served(file: Path, content: bytes, seed: int, times: int) -> None:
    random = Random(seed)
    for _ in range(times):
        content = mutate(content, random)
    file.write_bytes(content)
    try:
        loaded = load(file, environ=ENVIRONMENT)
    except DockfileError as error:
        problems = [str(problem) for problem in error.problems]
    else:
        problems = unserved(loaded) or [summary(loaded, [])]
        create_app(loaded)
    assert problems
    assert all(problem.replace("\n", "").isprintable() for problem in problems)
