from collections.abc import Iterator

import pytest

from tests.backends.conformance import backend, unbounded
from tests.backends.service import fast_beats, service, single_beat
from tests.backends.trouble import failures, logged, on_redis, server
from tests.servers import KINDS

__all__ = [
    "backend",
    "failures",
    "fast_beats",
    "logged",
    "on_redis",
    "server",
    "service",
    "single_beat",
    "unbounded",
]


# Servers may differ in how they execute scripts and in what they store. What the processes of a service do
# among themselves is tested on one of them.
ON_EVERY_SERVER = {
    *("declarations", "formats", "keys", "leases", "queue", "records"),
    *("scripts", "stored_bytes", "versions"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "service" in metafunc.fixturenames:
        name = metafunc.module.__name__.rpartition(".")[2].removeprefix("test_redis_")
        kinds = KINDS if name in ON_EVERY_SERVER else KINDS[:1]
        metafunc.parametrize("service", kinds, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each conformance test once over a cluster and once over Sentinels, with its first parameters.

    Single servers get all parameters, with which the connections to servers have nothing to do.
    """
    repeated = set(_repeated(items))
    config.hook.pytest_deselected(items=list(repeated))
    items[:] = [item for item in items if item not in repeated]


def _repeated(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the tests over a deployment that differ from an earlier one in other parameters alone."""
    seen: set[tuple[str, str]] = set()
    for item in items:
        if not item.path.name.startswith("test_conformance") or not isinstance(item, pytest.Function):
            continue
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        for kind in {"cluster", "sentinel"}.intersection(filter(_is_text, parameters)):
            test = item.nodeid.partition("[")[0], kind
            if test in seen:
                yield item
            seen.add(test)


def _is_text(parameter: object) -> bool:
    return isinstance(parameter, str)
