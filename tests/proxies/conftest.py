"""The proxies and replicas that the tests of a module share."""

from collections.abc import Iterator

import pytest

from tests.proxies.stack import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("proxies")) as stack:
        yield stack
