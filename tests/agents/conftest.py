"""Fixtures of the tests of agents."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.lifespan_code import Code


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Code]:
    before = list(sys.path)
    written = Code(tmp_path)
    yield written
    sys.path[:] = before
    if module := sys.modules.pop(written.name, None):
        module.release.set()
