"""What a terminal shows at the start and at the end."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dockrion.dockfile import load
from dockrion.redaction import Redactor
from dockrion.server.sockets import Address
from dockrion.terminal.announcer import TerminalAnnouncer
from dockrion.web.routes import routes
from dockrion.web.service import Role


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Shown:
    """What an announcer writes."""

    def __init__(
        self,
        folder: Path,
        *,
        colours: bool = False,
        worker: int | None = None,
        role: Role = "all",
        **sections: Any,
    ) -> None:
        agent = {"name": "weather", "handler": "agent:handle"} | sections.pop("agent", {})
        path = folder / "Dockfile.yaml"
        path.write_text(
            yaml.safe_dump({"version": "1.0", "agent": agent, "io_schema": {}, "expose": {}} | sections)
        )
        dockfile = load(path, environ={}).dockfile
        paths = [route.path for route in routes(dockfile, role)]
        self.out = Terminal()
        self.announcer = TerminalAnnouncer(
            logging.StreamHandler(self.out),
            Redactor(["s3cr3t-key"]),
            dockfile,
            paths,
            role=role,
            colours=colours,
            supervised=worker is not None,
            worker=worker,
        )

    def facts(self, host: str = "127.0.0.1", port: int = 8080, uds: Path | None = None) -> dict[str, str]:
        self.announcer.listening(Address(host, 0, uds), port)
        return dict(re.findall(r"^  (\S+(?: \S+)?)  +(\S.*)$", self.out.getvalue(), re.MULTILINE))

    def draining(self, *run_ids: str, grace: float = 30.0) -> str:
        self.announcer.draining(run_ids, grace)
        return re.sub(r"\d\d:\d\d:\d\d", "TIME", self.out.getvalue())


def test_start_names_the_agent_what_it_runs_where_it_is_and_how_to_stop(tmp_path: Path) -> None:
    shown = Shown(tmp_path, agent={"description": "Knows\nthe s3cr3t-key"})
    assert shown.facts() == {
        "Agent": "weather: Knows the ***",
        "Runs": "agent:handle (custom)",
        "Page": "http://127.0.0.1:8080/",
        "API docs": "http://127.0.0.1:8080/docs",
        "Metrics": "http://127.0.0.1:8080/metrics",
    }
    assert "Press Ctrl-C to stop." in shown.out.getvalue()


def test_start_of_a_worker_names_its_role_and_no_page(tmp_path: Path) -> None:
    assert list(Shown(tmp_path, role="worker").facts()) == ["Agent", "Runs", "Role", "Metrics"]
    facts = Shown(tmp_path, role="api").facts()
    assert (facts["Role"], facts["Page"]) == ("api", "http://127.0.0.1:8080/")


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]"), ("example.test", "example.test")],
)
def test_urls_have_a_host_that_a_browser_can_open(tmp_path: Path, host: str, shown: str) -> None:
    assert Shown(tmp_path).facts(host)["Page"] == f"http://{shown}:8080/"


def test_only_what_is_served_is_named(tmp_path: Path) -> None:
    places = Shown(tmp_path, expose={"rest": False}).facts()
    assert places.keys() == {"Agent", "Runs", "Streams"}
    assert places["Streams"] == "http://127.0.0.1:8080/invoke/stream"
    assert Shown(tmp_path).facts(port=0, uds=Path("/run/a.sock"))["Socket"] == "/run/a.sock"


def test_readiness_is_said(tmp_path: Path) -> None:
    shown = Shown(tmp_path)
    shown.announcer.ready()
    assert re.fullmatch(r"\d\d:\d\d:\d\d ready in \S+ m?s\n", shown.out.getvalue())


def test_end_says_which_runs_it_waits_for_how_long_and_how_to_end_at_once(tmp_path: Path) -> None:
    assert Shown(tmp_path).draining("a", "b") == (
        "\rTIME waiting up to 30 s for 2 runs to end: a, b; Ctrl-C again ends at once\n"
    )


def test_end_names_only_some_of_many_runs(tmp_path: Path) -> None:
    line = Shown(tmp_path).draining(*map(str, range(100)))
    assert "for 100 runs to end: 0, 1, 2, 3, 4, 95 more;" in line


def test_end_without_runs_is_short_and_that_of_a_worker_is_its_supervisors(tmp_path: Path) -> None:
    assert Shown(tmp_path).draining() == "\rTIME stopping\n"
    assert Shown(tmp_path, worker=7).draining() == ""
    assert Shown(tmp_path, worker=7).draining("a").startswith("\rTIME worker 7 waiting up to 30 s for 1 run ")


def test_wait_that_is_over_soon_needs_no_hint(tmp_path: Path) -> None:
    assert Shown(tmp_path).draining("a", grace=0.5) == "\rTIME waiting up to 500 ms for 1 run to end: a\n"


def test_start_and_end_are_said_once_by_the_supervisor(tmp_path: Path) -> None:
    for worker, shown in ((None, 2), (7, 0)):
        announcer = Shown(tmp_path, worker=worker)
        announcer.announcer.ready()
        announcer.announcer.ended()
        assert announcer.out.getvalue().count("\n") == shown


def test_files_that_were_saved_are_named(tmp_path: Path) -> None:
    shown = Shown(tmp_path)
    shown.announcer.reloading(["agent.py", "a\x1b[2Jb.py"])
    assert shown.out.getvalue().endswith(" reloading: agent.py, a\N{REPLACEMENT CHARACTER}[2Jb.py\n")


def test_nothing_that_others_wrote_controls_the_terminal(tmp_path: Path) -> None:
    shown = Shown(tmp_path, agent={"description": "a\x1b[2Jb"})
    shown.facts(uds=Path("/a\x1b[2J"))
    shown.draining("a\x1b[2Jb")
    assert "\x1b" not in shown.out.getvalue()


def test_colours_are_used_if_wanted(tmp_path: Path) -> None:
    shown = Shown(tmp_path, colours=True)
    shown.announcer.listening(Address("localhost", 0), 1)
    assert "\x1b[36mhttp://localhost:1/\x1b[0m" in shown.out.getvalue()
