"""Services with authentication as processes: starts, refused starts, and logs."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dockrion.cli import main
from tests.auth.issuers import signing_key
from tests.e2e.conftest import Start
from tests.e2e.process import TIMEOUT_SECONDS, Process, run, write_dockfile

OK = "def handle(payload):\n    return payload\n"
KEY = "an unguessable key"
API_KEYS: dict[str, Any] = {"mode": "api_key"}
# Dockfiles whose rules cannot be enforced: sections, variables, and the expected parts of each error.
UNENFORCEABLE: dict[str, tuple[dict[str, Any], dict[str, str], list[list[str]]]] = {
    "no key": ({"auth": {}}, {}, [["auth.api_keys.env_var", "DOCKRION_API_KEY is not set"]]),
    "an empty key": (
        {"auth": API_KEYS},
        {"DOCKRION_API_KEY": " , "},
        [["auth.api_keys.env_var", "DOCKRION_API_KEY is not set"]],
    ),
    "no key of a prefix": (
        {"auth": {"api_keys": {"prefix": "KEY_OF_"}}},
        {"KEY_FOR_ANN": KEY},
        [["auth.api_keys.env_var", "KEY_OF_"]],
    ),
    "no public key": (
        {"auth": {"mode": "jwt", "jwt": {"public_key_env": "PUBLIC_KEY"}}},
        {},
        [["auth.jwt.public_key_env", "PUBLIC_KEY is not set"]],
    ),
    "no client": (
        {
            "auth": {
                "mode": "oauth2",
                "oauth2": {
                    "introspection_url": "http://127.0.0.1:1/",
                    "client_id_env": "ID",
                    "client_secret_env": "SECRET",
                },
            }
        },
        {},
        [
            ["auth.oauth2.client_id_env", "ID is not set"],
            ["auth.oauth2.client_secret_env", "SECRET is not set"],
        ],
    ),
    "unknown fields": (
        {"auth": {"mod": "jwt", "jwt": {"audiences": "a"}}, "policies": {"safety": {"redact": ["x"]}}},
        {"DOCKRION_API_KEY": KEY},
        [["auth.mod"], ["auth.jwt.audiences"], ["policies.safety.redact"]],
    ),
    "unknown fields in lists": (
        {"auth": {"roles": [{"name": "a", "permission": ["invoke"]}]}},
        {"DOCKRION_API_KEY": KEY},
        [["auth.roles", "permission"]],
    ),
    "misspelt sections": (
        {"Auth": {"mode": "jwt"}, "polices": {}},
        {},
        [["Auth", "resembles auth"], ["polices", "resembles policies"]],
    ),
    "unknown algorithm": (
        {"auth": {"mode": "jwt", "jwt": {"public_key_env": "K", "algorithms": ["none"]}}},
        {"K": KEY},
        [["auth.jwt.algorithms"]],
    ),
    "no way in": (
        {"auth": {"api_keys": {"enabled": False}}},
        {"DOCKRION_API_KEY": KEY},
        [["auth.api_keys.enabled"]],
    ),
    "unknown permission": (
        {"auth": {"roles": [{"name": "a", "permissions": ["everything"]}]}},
        {"DOCKRION_API_KEY": KEY},
        [["auth.roles[0].permissions[0]"]],
    ),
    "unknown mode": ({"auth": {"mode": "basic"}}, {"DOCKRION_API_KEY": KEY}, [["auth.mode"]]),
    "unlimited rate": (
        {"auth": {"rate_limits": {"default": "0/s"}}},
        {"DOCKRION_API_KEY": KEY},
        [["auth.rate_limits"]],
    ),
}


@pytest.mark.parametrize("name", UNENFORCEABLE)
def test_unenforceable_auth_refuses_the_start_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sections, variables, lines = UNENFORCEABLE[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOCKRION_API_KEY", raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    write_dockfile(tmp_path, OK, **sections)
    assert main(["run", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    printed = err.splitlines()
    assert len(printed) == len(lines), err
    for line, parts in zip(printed, lines, strict=True):
        assert all(part in line for part in parts), line
    assert KEY not in err
    assert main(["validate"]) == 1
    validated = capsys.readouterr()
    for parts in lines:
        assert any(all(part in line for part in parts) for line in validated.err.splitlines()), validated.err
    assert KEY not in validated.err + validated.out


# Invalid keys: sections, variables, and the expected text of the error.
KEYS: dict[str, tuple[dict[str, Any], dict[str, str], list[str]]] = {
    "no PEM": (
        {"mode": "jwt", "jwt": {"public_key_env": "PUBLIC_KEY"}},
        {"PUBLIC_KEY": KEY},
        ["auth.jwt.public_key_env: PUBLIC_KEY holds no key for RS256"],
    ),
    "another curve's": (
        {"mode": "jwt", "jwt": {"public_key_env": "PUBLIC_KEY", "algorithms": ["ES384"]}},
        {"PUBLIC_KEY": signing_key("ES256").pem},
        ["auth.jwt.public_key_env", "ES384"],
    ),
    "two alike": (
        {"mode": "api_key", "api_keys": {"prefix": "KEY_OF_"}},
        {"KEY_OF_ANN": KEY, "KEY_OF_BOB": f"{KEY}, {KEY} more"},
        ["auth.api_keys: ann and bob have the same key"],
    ),
    "none that may invoke": (
        {"mode": "api_key", "roles": [{"name": "default", "permissions": ["read_docs"]}]},
        {"DOCKRION_API_KEY": KEY},
        ["auth.roles: no API key has the permission invoke", "named like one of the keys: default"],
    ),
    "over two lines": (
        {"mode": "api_key"},
        {"DOCKRION_API_KEY": f"{KEY}\n{KEY} more"},
        ["auth.api_keys: a key of default contains a line break"],
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_invalid_keys_refuse_the_start(tmp_path: Path, name: str) -> None:
    auth, variables, parts = KEYS[name]
    write_dockfile(tmp_path, OK, auth=auth)
    done = run("run", "--port", "0", cwd=tmp_path, **variables)
    assert done.returncode == 1
    assert "listening" not in done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr
    assert KEY not in done.stdout + done.stderr


async def _ask(process: Process, data: bytes) -> str:
    """Send bytes that are barely a request, and return the response."""
    host, port = "127.0.0.1", int(process.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(host, port, family=socket.AF_INET)
    writer.write(data)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        data = await reader.read(65536)
    writer.close()
    return data.decode("utf-8", "replace")


async def test_credentials_appear_in_no_log_metric_or_response(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    path = write_dockfile(tmp_path, OK, auth=API_KEYS, observability={"log_level": "debug"})
    process = await start(path, DOCKRION_API_KEY=KEY, PYTHONASYNCIODEBUG="1")
    key, url = {"X-API-Key": KEY}, process.url
    async with session.get(f"{url}/info", headers=key) as response:
        assert (await response.json())["auth_enabled"] is True
    async with session.post(f"{url}/runs", json={}, headers=key) as response:
        made = await response.json()
    run_id, token = made["run_id"], made["events_token"]
    wrong = "a wrong key in a request"
    texts = []
    for place in ("/events", "", "/nowhere", "/events?timeout=0", "/events?from_sequence=x", "/token"):
        joined = "&" if "?" in place else "?"
        async with session.get(f"{url}/runs/{run_id}{place}{joined}token={token}") as response:
            texts.append(await response.text())
    async with session.get(f"{url}/info", headers={"Authorization": f"Bearer {wrong}"}) as response:
        assert response.status == 401
    target = f"/runs/{run_id}/events?token={token}".encode()
    keyed = b"X-API-Key: " + KEY.encode()
    malformed = [
        b"GET %b HTTP/9.9\r\nHost: localhost\r\n\r\n" % target,
        b"GET %b%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (target, b"x" * 9000),
        b"GET %b HTTP/1.1\r\nHost t\r\n\r\n" % target,
        b"G\0T %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n%b%b\r\n\r\n" % (keyed, b"x" * 9000),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\0\r\n\r\n" % keyed,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n %b\r\n\r\n" % keyed,
        b"POST /runs HTTP/1.1\r\nHost: localhost\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n"
        % (keyed, target),
    ]
    texts += [await _ask(process, data) for data in malformed]
    async with session.get(f"{url}/metrics", headers=key) as response:
        texts.append(await response.text())
    process.signal()
    assert await process.exit_code() == 0
    logged = process.out + process.err
    assert f'"/runs/{run_id}/events"' in logged
    signature = token.partition(".")[2]
    for secret in (KEY, wrong, token, signature, signature[:20]):
        assert secret not in logged
        assert not [each for each in texts if secret in each]
