"""Redis is not there, or not as it should be, when the service starts."""

import subprocess
from pathlib import Path

import pytest

from tests.backends.trouble import (
    Logged,
    OnRedis,
    assert_accepts_runs,
    assert_refuses_runs,
    serve_on,
    status,
    wait_ready,
)
from tests.conftest import Serve
from tests.servers import KINDS, RedisServer
from tests.support import Served, wait_until

EVICTS = "redis may drop live runs when its memory is full; set its maxmemory-policy to noeviction"
# The scheme, the server's password, the one in the URL, what is told of it.
PASSWORDS = {
    "wrong": ("redis", "right", "wrong", "WRONGPASS"),
    "wrong on a socket": ("unix", "right", "wrong", "WRONGPASS"),
    "none given": ("redis", "right", "", "NOAUTH"),
    "none asked for": ("redis", "", "needless", "NOPASS"),
}


async def stays_away(served: Served, failures: list[None]) -> None:
    """Check what a service does without Redis, over some attempts to reach it."""
    await wait_ready(served, ready_at_last=False)
    await assert_refuses_runs(served)
    assert await status(served, "/runs") == 503
    assert await status(served, "/runs/any") == 503
    await wait_until(lambda: len(failures) >= 2)


async def test_a_server_that_comes_up_later_is_waited_for(
    server: RedisServer, on_redis: OnRedis, logged: Logged, failures: list[None]
) -> None:
    server.kill()
    served = await on_redis()
    await stays_away(served, failures)
    assert logged.troubles() == ["UNREACHABLE"]
    assert "address" in logged.advice("UNREACHABLE")
    server.start()
    await wait_ready(served)
    await assert_accepts_runs(served)
    assert logged.troubles().count("UNREACHABLE") == 1
    assert logged.fields("redis answers") == [{}]


@pytest.mark.parametrize("case", PASSWORDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_password_is_told_until_it_is_right(
    kind: str, case: str, tmp_path: Path, serve: Serve, logged: Logged, failures: list[None]
) -> None:
    scheme, asked, given, trouble = PASSWORDS[case]
    with RedisServer(kind, tmp_path, password=asked) as server:
        before, after = (f"//:{password}@" if password else "//" for password in (asked, given))
        url = server.url if scheme == "redis" else server.unix_url
        served = await serve_on(serve, url.replace(before, after, 1))
        await stays_away(served, failures)
        assert logged.troubles() == [trouble]
        assert "password" in logged.advice(trouble)
        server.command("CONFIG", "SET", "requirepass", given)
        await wait_ready(served)
        await assert_accepts_runs(served)
        assert logged.troubles() == [trouble]
        await served.client.close()


async def test_a_host_that_does_not_exist_is_tried_again_and_again(
    serve: Serve, logged: Logged, failures: list[None]
) -> None:
    served = await serve_on(serve, "redis://no-such-host.invalid:6379/0")
    await stays_away(served, failures)
    assert logged.troubles() == ["UNREACHABLE"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_policy_that_may_drop_live_runs_is_warned_of(
    kind: str, policy: str, tmp_path: Path, serve: Serve, logged: Logged
) -> None:
    options = ("--maxmemory", "100mb", "--maxmemory-policy", policy)
    with RedisServer(kind, tmp_path, *options) as server:
        served = await serve_on(serve, server.url)
        asked = iter(range(10_000))
        await wait_until(lambda: calls_of_info(server) > next(asked))
        await assert_accepts_runs(served)
        expected = [{"policy": policy, "maxmemory": 100 << 20}] if policy != "noeviction" else []
        assert logged.fields(EVICTS) == expected
        await served.client.close()


def calls_of_info(server: RedisServer) -> int:
    """Return how often anybody called INFO before."""
    return int(server.command("INFO", "commandstats").get("cmdstat_info", {"calls": 0})["calls"])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody has signed, its key beside it."""
    path = tmp_path / "certificate"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-subj", "/CN=tested", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


# The wheel's Valkey is built without TLS.
@pytest.mark.parametrize("trusted", [True, False])
async def test_tls_needs_a_certificate_that_is_trusted(
    tmp_path: Path, certificate: Path, serve: Serve, logged: Logged, failures: list[None], trusted: bool
) -> None:
    keys = ("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate.with_suffix(".key")))
    server = RedisServer("redis", tmp_path, *keys, "--tls-auth-clients", "no")
    server._command[server._command.index("--port")] = "--tls-port"
    server._command += ["--port", "0"]
    with server:
        server.url = server.unix_url
        ca = f"?ssl_ca_certs={certificate}" if trusted else ""
        served = await serve_on(serve, f"rediss://127.0.0.1:{server.port}/0{ca}")
        if trusted:
            await wait_ready(served)
            await assert_accepts_runs(served)
            assert logged.troubles() == []
        else:
            await stays_away(served, failures)
            assert logged.troubles() == ["UNREACHABLE"]
        await served.client.close()
