"""Redis is away or misconfigured when the service starts."""

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
# The scheme, the server's password, the one in the URL, the kind of failure that is logged.
PASSWORDS = {
    "wrong": ("redis", "right", "wrong", "WRONGPASS"),
    "wrong on a socket": ("unix", "right", "wrong", "WRONGPASS"),
    "none given": ("redis", "right", "", "NOAUTH"),
    "none asked for": ("redis", "", "needless", "NOPASS"),
}


async def is_unavailable(served: Served, failures: list[None]) -> None:
    """Check what a service does without Redis, over several attempts to connect."""
    await wait_ready(served, expected=False)
    await assert_refuses_runs(served)
    assert await status(served, "/runs") == 503
    assert await status(served, "/runs/any") == 503
    await wait_until(lambda: len(failures) >= 2)


async def test_a_server_that_starts_later_is_used(
    server: RedisServer, on_redis: OnRedis, logged: Logged, failures: list[None]
) -> None:
    server.kill()
    served = await on_redis()
    await is_unavailable(served, failures)
    assert logged.redis_errors() == ["UNREACHABLE"]
    assert "address" in logged.advice("UNREACHABLE")
    server.start()
    await wait_ready(served)
    await assert_accepts_runs(served)
    assert logged.redis_errors().count("UNREACHABLE") == 1
    await logged.until("redis has recovered")


@pytest.mark.parametrize("case", PASSWORDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_password_is_logged_until_it_is_right(
    kind: str, case: str, tmp_path: Path, serve: Serve, logged: Logged, failures: list[None]
) -> None:
    scheme, asked, given, trouble = PASSWORDS[case]
    with RedisServer(kind, tmp_path, password=asked) as server:
        before, after = (f"//:{password}@" if password else "//" for password in (asked, given))
        url = server.url if scheme == "redis" else server.unix_url
        served = await serve_on(serve, url.replace(before, after, 1))
        await is_unavailable(served, failures)
        assert logged.redis_errors() == [trouble]
        assert "password" in logged.advice(trouble)
        server.command("CONFIG", "SET", "requirepass", given)
        await wait_ready(served)
        await assert_accepts_runs(served)
        assert logged.redis_errors() == [trouble]
        await served.client.close()


@pytest.mark.parametrize("forbidden", ["-info", "-@dangerous"])
async def test_a_user_without_administrative_commands_suffices(
    server: RedisServer, serve: Serve, logged: Logged, forbidden: str
) -> None:
    server.command("ACL", "SETUSER", "limited", "on", ">password", "~*", "+@all", forbidden)
    served = await serve_on(serve, server.url.replace("//", "//limited:password@", 1))
    await wait_ready(served)
    await assert_accepts_runs(served)
    assert logged.redis_errors() == []


async def test_an_unknown_host_is_retried(serve: Serve, logged: Logged, failures: list[None]) -> None:
    served = await serve_on(serve, "redis://no-such-host.invalid:6379/0")
    await is_unavailable(served, failures)
    assert logged.redis_errors() == ["UNREACHABLE"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_eviction_policy_that_may_drop_live_runs_is_warned_of(
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
    """Return the number of INFO commands that the server has executed."""
    return int(server.command("INFO", "commandstats").get("cmdstat_info", {"calls": 0})["calls"])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of 127.0.0.1, its key beside it."""
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
async def test_tls_requires_a_trusted_certificate(
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
            assert logged.redis_errors() == []
        else:
            await is_unavailable(served, failures)
            assert logged.redis_errors() == ["UNREACHABLE"]
        await served.client.close()
