"""Imports between packages are acyclic: each package imports only from packages above it in the table."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "dockrion"
BASE = {"errors", "redaction", "json_encoding", "caller", "threads", "backoff", "background_tasks", "ids"}
BASE |= {"dependency", "signals", "signatures"}
ALLOWED: dict[str, set[str]] = {  # package: the packages it may import, besides itself and BASE
    "logs": set(),
    "printed_output": {"logs"},
    "http_client": set(),
    "tls": {"logs"},
    "json_schema": set(),
    "events": set(),
    "metrics": {"events", "logs"},
    "wire": {"events"},
    "backends": {"events", "logs"},
    "policies": {"events", "json_schema"},
    "runs": {"backends", "events", "json_schema", "logs", "metrics", "policies"},
    "dockfile": {"events", "json_schema", "policies"},
    "tracing": {"backends", "dockfile", "events", "logs"},
    "auth": {"backends", "dockfile", "http_client", "logs"},
    "protocols": {"backends", "dockfile", "events"},
    "webhooks": {"backends", "dockfile", "events", "http_client", "logs", "metrics", "protocols"},
    "agents": {"dockfile", "events", "http_client", "json_schema", "logs", "runs", "wire"},
    "testing": {"agents", "backends", "dockfile", "events", "metrics", "runs"},
    "openapi": {"auth", "backends", "dockfile", "events", "protocols", "runs", "webhooks", "wire"},
    "web": {
        *("agents", "auth", "backends", "dockfile", "events", "json_schema", "logs"),
        *("metrics", "openapi", "policies", "protocols", "runs", "tls", "tracing", "webhooks", "wire"),
    },
    "server": {"dockfile", "logs", "metrics", "tls", "web"},
    "client": {"events", "wire"},
    "console": {"client"},
    "load": {"client", "console", "events", "wire"},
    "terminal": {"console", "dockfile", "logs", "server"},
    "commands": {
        *("agents", "client", "console", "dockfile", "logs", "metrics", "printed_output", "runs"),
        *("server", "terminal", "web"),
    },
}
EVERYTHING = {"__init__", "__main__", "_compat", "cli"}  # may import everything
TEMPLATES = ROOT / "commands/templates"  # agents of users
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if not path.is_relative_to(TEMPLATES))


def imported(path: Path) -> Iterator[str]:
    """Yield the packages that a module imports, including imports inside functions."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            first, _, rest = node.module.partition(".")
            if first == "dockrion":
                yield from [rest.partition(".")[0]] if rest else (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            parts = (alias.name.split(".") for alias in node.names)
            yield from (part[1] for part in parts if part[0] == "dockrion" and len(part) > 1)


@pytest.mark.parametrize("package", sorted(BASE | ALLOWED.keys()))
def test_imports_point_one_way(package: str) -> None:
    allowed = {package, *BASE, *ALLOWED.get(package, ()), "__version__"}
    modules = [path for path in MODULES if path.parts[0].removesuffix(".py") == package]
    assert modules
    assert {path: found for path in modules if (found := set(imported(path)) - allowed)} == {}


def test_the_table_is_acyclic_and_complete() -> None:
    there = {path.parts[0].removesuffix(".py") for path in MODULES} - EVERYTHING
    assert there == BASE | ALLOWED.keys()
    above: set[str] = set()
    for package, allowed in ALLOWED.items():
        assert allowed <= above, package
        above.add(package)
