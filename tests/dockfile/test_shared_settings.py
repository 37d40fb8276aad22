"""Which settings have to be the same for all replicas."""

from pathlib import Path
from typing import Any

import pytest

from dockrion.dockfile import shared_settings
from dockrion.dockfile.shared_settings import SETTINGS
from tests.guide.test_tables import fields
from tests.support import dockfile

BASE: dict[str, Any] = {"agent": {"name": "tested", "url": "http://localhost:1/run"}}
HANDLER = "tests.support:placeholder"


def settings(folder: Path, sections: dict[str, Any]) -> dict[str, str]:
    return shared_settings(dockfile(folder, BASE | sections).dockfile)


@pytest.mark.parametrize(
    ("sections", "differing"),
    [
        ({"streaming": {"max_queued_runs": 5}}, {"streaming.max_queued_runs"}),
        ({"streaming": {"events": {"allowed": "chat"}}}, {"streaming.events.allowed"}),
        ({"streaming": {"redis": {"stream_ttl_seconds": 60}}}, {"streaming.redis.stream_ttl_seconds"}),
        ({"io_schema": {"input": {"properties": {"a": {"type": "string"}}}}}, {"io_schema.input"}),
        ({"auth": {"mode": "none"}}, {"auth"}),
        ({"policies": {"safety": {"max_output_chars": 5}}}, {"policies"}),
        (
            {"agent": {"name": "tested", "handler": "tests.support:placeholder"}},
            {"agent.handler", "agent.url"},
        ),
        ({"agent": {"name": "tested", "url": "http://localhost:1/other"}}, {"agent.url"}),
        ({"agent": {"name": "tested", "url": "https://elsewhere:2/run"}}, set()),
        ({"agent": {"name": "tested", "url": "unix:/a.sock:/run"}}, set()),
        ({"agent": {"name": "tested", "url": "http://localhost:1/run", "description": "d"}}, set()),
        ({"expose": {"port": 1, "host": "127.0.0.1"}, "observability": {"log_level": "debug"}}, set()),
        ({"streaming": {"max_concurrent_runs": 5, "redis": {"connection_pool_size": 1}}}, set()),
    ],
)
def test_differences(tmp_path: Path, sections: dict[str, Any], differing: set[str]) -> None:
    before, after = settings(tmp_path, {}), settings(tmp_path, sections)
    assert {name for name in before if before[name] != after[name]} == differing


def test_they_are_settings_of_the_dockfile() -> None:
    assert set(SETTINGS) <= fields()


def test_no_value_can_be_read_from_them(tmp_path: Path) -> None:
    found = settings(tmp_path, {"agent": {"name": "tested", "url": "http://me:pass@localhost:1/secret-path"}})
    assert "secret-path" not in str(found)
    assert "pass" not in str(found)
    assert {len(digest) for digest in found.values()} == {8}
