"""Proxies in front of a service with a certificate of its own (`expose.tls`)."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.process import write_dockfile
from tests.guide.pages import page, read
from tests.proxies.caller import calling
from tests.proxies.programs import PROGRAMS, Front, Program
from tests.proxies.stack import AGENT, Replica, Stack, in_front, make_certificate
from tests.proxies.test_transports import check_live

CERTIFICATE = "/etc/ssl/writer.pem"
SETTINGS = {
    "nginx": """\
proxy_pass https://replicas;
proxy_ssl_trusted_certificate /etc/ssl/writer.pem;
proxy_ssl_verify on;
proxy_ssl_name writer.internal;
""",
    "haproxy": """\
 fall 2 ssl verify required ca-file /etc/ssl/writer.pem sni str(writer.internal)
""",
    "caddy": """\
    transport http {
        tls_trusted_ca_certs /etc/ssl/writer.pem
        tls_server_name writer.internal
    }
""",
}
REPLACED = {
    "nginx": "proxy_pass http://replicas;\n",
    "haproxy": " fall 2 # no more requests go to a replica that ends, after 1.5 s\n",
    "caddy": "lb_policy least_conn\n",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = make_certificate(folder)
    tls = {"certificate": str(certificate), "key": str(folder / "key.pem")}
    expose = {"streaming": "websocket", "trusted_proxies": ["127.0.0.1"], "tls": tls}
    dockfile = write_dockfile(folder, AGENT, expose=expose)
    with ExitStack() as stack:
        replica = Replica(dockfile, certificate)
        stack.callback(replica.end)
        replica.wait()
        programs = {program.name: _with_tls(program) for program in PROGRAMS}
        yield stack.enter_context(in_front(programs, folder, [replica], certificate))


def _with_tls(program: Program) -> Program:
    """Return a proxy that connects to its replicas with TLS, as the guide says."""
    settings, before = SETTINGS[program.name], REPLACED[program.name]
    assert settings in read(page("deploy"))

    def adapt(text: str, front: Front) -> str:
        assert before in text
        text = text.replace(before, settings).replace(CERTIFICATE, str(front.certificate))
        if program.name == "caddy":
            text = re.sub(r"reverse_proxy (\S+) (\S+)", r"reverse_proxy https://\1 https://\2", text)
        return program.adapt(text, front)

    return replace(program, adapt=adapt)


@pytest.mark.parametrize("proxy", [program.name for program in PROGRAMS])
async def test_transports_to_a_service_with_tls(stack: Stack, tmp_path: Path, proxy: str) -> None:
    async with calling(stack, proxy, tmp_path) as caller:
        await check_live(caller)
