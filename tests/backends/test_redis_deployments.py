"""URLs of clusters and Sentinels, and a server that is not what its URL says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockrion.backends.redis import check_url
from dockrion.backends.redis.location import Address, ClusterLocation, SentinelLocation, ServerUrls, locate
from dockrion.errors import StartError
from tests.backends.trouble import Logged, assert_refuses_runs, serve_on, wait_ready
from tests.conftest import Serve
from tests.deployments import (
    KIND,
    PRIMARY,
    ClusterServers,
    SentinelServers,
    shared_cluster,
    shared_sentinels,
)
from tests.servers import RedisServer, shared
from tests.support import wait_until


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@h:1/2", None),
        ("unix:///a/b?db=1", None),
        (
            "redis+cluster://h:1,i",
            ClusterLocation((Address("h", 1), Address("i", 6379)), ServerUrls("redis://", "")),
        ),
        (
            "rediss+cluster://u:p%40,@[::1]:7/0?ssl_cert_reqs=none",
            ClusterLocation((Address("::1", 7),), ServerUrls("rediss://u:p%40,@", "?ssl_cert_reqs=none")),
        ),
        (
            "redis+sentinel://u:p@h,i:2/my%20primary/3?sentinel_password=s%2Fp&socket_keepalive=yes",
            SentinelLocation(
                (Address("h", 26379), Address("i", 2)),
                "my primary",
                ServerUrls("redis://u:p@", "/3?socket_keepalive=yes"),
                ServerUrls("redis://", "?password=s%2Fp"),
            ),
        ),
        (
            "rediss+sentinel://h/p?ssl_check_hostname=no&sentinel_username=a",
            SentinelLocation(
                (Address("h", 26379),),
                "p",
                ServerUrls("rediss://", "/?ssl_check_hostname=no"),
                ServerUrls("rediss://", "?ssl_check_hostname=no&username=a"),
            ),
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: ClusterLocation | SentinelLocation | None) -> None:
    assert locate(url) == expected
    if expected is not None:
        assert expected.urls.at(Address("::1", 5)) == f"{expected.urls.before}[::1]:5{expected.urls.after}"


def test_what_others_need_is_not_loaded_for_a_single_server() -> None:
    code = """
import sys
from dockrion.backends.redis import check_url
check_url("redis://h")
print(*(name.rpartition(".")[2] for name in sys.modules if name.startswith("dockrion.backends.redis.")))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "connections" in loaded.split()
    assert not {"cluster", "cluster_layout", "sentinel"} & set(loaded.split())


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("redis+cluster://:secret@", "redis+cluster://"),
        ("redis+cluster://:secret@h,,i", "redis+cluster://"),
        ("redis+cluster://:secret@h/1", "redis+cluster://"),
        ("redis+cluster://:secret@h?no_such=option", "redis+cluster://"),
        ("redis+cluster://:secret@h?socket_timeout=x", "redis+cluster://"),
        ("redis+sentinel://:secret@h", "redis+sentinel://"),
        ("redis+sentinel://:secret@h/p/x", "redis+sentinel://"),
        ("redis+sentinel://:secret@h/p?no_such=option", "redis+sentinel://"),
        ("redis://:secret@h?no_such=option", "redis://"),
    ],
)
async def test_a_malformed_url_is_refused_without_its_password(url: str, form: str) -> None:
    with pytest.raises(StartError, match=r"streaming\.redis\.url: malformed; expected ") as raised:
        check_url(url)
    assert f"expected {form}" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.fixture
def cluster() -> ClusterServers:
    return shared_cluster()


@pytest.fixture
def sentinels() -> SentinelServers:
    return shared_sentinels()


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[RedisServer]:
    """A replica of the shared server, which it never reaches."""
    with RedisServer(KIND, tmp_path) as started:
        started.command("REPLICAOF", "127.0.0.1", 1)
        yield started


async def assert_one_line(serve: Serve, logged: Logged, url: str, kind: str, *parts: str) -> None:
    """Check that a service says once why it cannot use what a URL names, and refuses runs."""
    served = await serve_on(serve, url)
    await wait_until(logged.redis_errors)
    await wait_ready(served, expected=False)
    await assert_refuses_runs(served)
    assert logged.redis_errors() == [kind]
    assert all(part in logged.advice(kind) for part in parts)
    assert "http" not in logged.advice(kind)


@pytest.mark.parametrize("node", [0, 1, 2])
async def test_a_node_of_a_cluster_is_refused_whatever_its_slots(
    serve: Serve, logged: Logged, cluster: ClusterServers, node: int
) -> None:
    await assert_one_line(serve, logged, cluster.masters[node].url, "MOVED", "redis+cluster://")


async def test_a_node_with_all_slots_is_used(serve: Serve, logged: Logged, tmp_path: Path) -> None:
    with ClusterServers(tmp_path, masters=1) as cluster:
        served = await serve_on(serve, cluster.masters[0].url)
        await wait_ready(served)
        assert logged.redis_errors() == []
        await served.client.close()


async def test_a_sentinel_is_refused(serve: Serve, logged: Logged, sentinels: SentinelServers) -> None:
    await assert_one_line(
        serve, logged, sentinels.sentinels[0].url, "SENTINEL", "redis+sentinel://", "primary"
    )


async def test_a_read_only_replica_is_refused(serve: Serve, logged: Logged, replica: RedisServer) -> None:
    await assert_one_line(serve, logged, replica.url, "READONLY", "must name the primary")


async def test_a_server_is_not_a_cluster(serve: Serve, logged: Logged) -> None:
    url = shared(KIND).url.replace("redis://", "redis+cluster://")
    await assert_one_line(serve, logged, url, "NOCLUSTER", "redis://")


async def test_sentinels_do_not_know_the_name(
    serve: Serve, logged: Logged, sentinels: SentinelServers
) -> None:
    url = sentinels.url.replace(PRIMARY, "another")
    await assert_one_line(serve, logged, url, "NOPRIMARY", "do they know it by the name")


async def test_one_sentinel_that_answers_suffices(
    serve: Serve, logged: Logged, sentinels: SentinelServers
) -> None:
    served = await serve_on(serve, sentinels.url.replace("//", "//127.0.0.1:1,"))
    await wait_ready(served)
    assert logged.redis_errors() == []


async def test_one_node_that_answers_suffices(serve: Serve, logged: Logged, cluster: ClusterServers) -> None:
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.masters[2].port}"
    served = await serve_on(serve, url)
    await wait_ready(served)
    assert logged.redis_errors() == []
