"""The options of a load test."""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.cli import main
from dockrion.load.command import raise_file_limit
from dockrion.load.options import Options, add_arguments, options

URL = "http://127.0.0.1:1"


def parsed(*arguments: str) -> Options:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options(parser.parse_args(arguments))


def test_defaults() -> None:
    assert parsed(URL + "/") == Options(url=URL, runs=100)


def test_everything() -> None:
    arguments = (
        "--pattern runs --duration 1.5 --concurrency 4 --readers 3 --reconnect 0.5 --slow-readers 2"
        ' --processes 2 --payload {"a":1} --header X-A:b --header Authorization:Bearer:c'
    )
    assert parsed(URL, *arguments.split()) == Options(
        url=URL,
        pattern="runs",
        payload=b'{"a":1}',
        duration=1.5,
        concurrency=4,
        readers=3,
        reconnect=0.5,
        slow_readers=2,
        processes=2,
        header=[("X-A", "b"), ("Authorization", "Bearer:c")],
    )


def test_a_payload_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    path.write_text('{"from": "a file"}')
    assert parsed(URL, "--payload", str(path)).payload == b'{"from": "a file"}'
    path.write_text("no JSON")
    with pytest.raises(SystemExit):
        parsed(URL, "--payload", str(path))


@pytest.mark.parametrize(
    "wrong",
    [
        ["ftp://h"],
        ["http://"],
        ["http://h:99999"],
        ["http://h?query"],
        [URL, "--payload", "no/such/file"],
        [URL, "--runs", "0"],
        [URL, "--runs", "1000001"],
        [URL, "--runs", "1", "--duration", "1"],
        [URL, "--duration", "0"],
        [URL, "--duration", "inf"],
        [URL, "--duration", "soon"],
        [URL, "--concurrency", "0"],
        [URL, "--processes", "65"],
        [URL, "--processes", "11"],
        [URL, "--readers", "2"],
        [URL, "--reconnect", "1.1"],
        [URL, "--reconnect", "nan"],
        [URL, "--pattern", "invoke", "--reconnect", "0.1"],
        [URL, "--slow-readers", "11"],
        [URL, "--header", "no colon"],
        [URL, "--header", "X-A:two\nlines"],
        [URL, "--header", "two words:x"],
        [URL, "--json", "/no/such/folder/result.json"],
        [URL, "--html", "/"],
    ],
)
def test_contradictory_or_malformed_options_are_usage_errors(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["load", *wrong])
    assert exit_.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_does_not_show_a_header_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["load", URL, "--header", "bad name:s3cret"])
    assert "s3cret" not in capsys.readouterr().err


@given(
    st.integers(1, 64),
    st.integers(1, 200),
    st.one_of(st.none(), st.integers(1, 500)),
    st.integers(0, 200),
)
def test_the_shares_sum_up_to_the_test(processes: int, concurrency: int, runs: int | None, slow: int) -> None:
    whole = Options(
        url=URL,
        pattern="runs",
        runs=runs,
        concurrency=max(concurrency, processes),
        processes=processes,
        slow_readers=min(slow, concurrency),
    )
    shares = whole.shares()
    if runs is not None:
        assert sum(share.runs or 0 for share in shares) == runs
    if runs is None or runs >= processes:
        assert sum(share.concurrency for share in shares) == whole.concurrency
        assert sum(share.slow_readers for share in shares) == whole.slow_readers
    for share in shares:
        assert share.concurrency >= 1


def test_a_test_opens_as_many_files_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: allowed.append(limits))
    raise_file_limit(Options(url=URL, concurrency=10))
    assert allowed == []
    raise_file_limit(Options(url=URL, concurrency=10, readers=40))
    assert allowed == [(474, 1024)]
    with pytest.raises(
        ValueError, match=r"needs 4,\d\d\d open files in a process, and the system allows 1,024"
    ):
        raise_file_limit(Options(url=URL, concurrency=10, readers=400))
    raise_file_limit(Options(url=URL, concurrency=10, readers=400, processes=5))


def test_those_who_serve_import_nothing_of_clients() -> None:
    code = "import sys, dockrion.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    clients = ("dockrion.load", "dockrion.client", "dockrion.console")
    assert [name for name in done.stdout.split() if name.startswith(clients)] == []


def test_an_address_without_a_scheme_is_one_of_http() -> None:
    assert parsed("localhost:8080").url == "http://localhost:8080"
