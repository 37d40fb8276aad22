"""Compare every table of the guide with the code."""

import argparse
import inspect
import re
import time
from pathlib import Path
from typing import Any, get_args

import pytest

import dockrion.client
from dockrion import StreamContext, client, errors, events
from dockrion.auth.authenticator import Roles
from dockrion.backends.redis import failures
from dockrion.caller import Caller, CallerRequest
from dockrion.cli import _parser
from dockrion.client import errors as client_errors
from dockrion.dependency import State
from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.dockfile.observability_structs import TracingSpec
from dockrion.dockfile.reference import table
from dockrion.dockfile.webhooks_structs import WebhookTargetSpec
from dockrion.errors import DockrionError
from dockrion.events import control_frames
from dockrion.metrics import Metrics
from dockrion.protocols.ag_ui import requests as ag_ui
from dockrion.testing import record
from dockrion.tracing import conventions
from dockrion.web import websocket
from dockrion.web.app import create_app
from dockrion.web.routes import routes
from dockrion.webhooks.signing import Secret
from tests.exposition import declared_labels, with_everything
from tests.guide.pages import PAGES, blocks, first_names, name_of, names, page, read, rows
from tests.guide.services import ROOT
from tests.support import WEBHOOK_SECRET, dockfile

README = ROOT / "README.md"
EVERYTHING = {
    "agent": {"name": "tested", "url": "http://127.0.0.1:1/"},
    "streaming": {"ingest": {"enabled": True}},
    "expose": {"streaming": "websocket"},
    "auth": {},
}


def test_fields_of_the_dockfile() -> None:
    assert table().strip() in read(page("dockfile")), "run `python -m tests.guide`"


def test_endpoints(tmp_path: Path) -> None:
    app = create_app(dockfile(tmp_path, EVERYTHING))
    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    assert set(first_names(rows(page("http-api"), "method and path", "there when", "response"))) == served


def test_errors() -> None:
    kinds = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DockrionError)
    }
    coded = {(str(kind.status), kind.code) for kind in kinds}
    shown = rows(page("http-api"), "status", "code", "when")
    assert {(row[0], names(row[1])[0]) for row in shown} == coded


def test_codes_of_error_events() -> None:
    only_in_events = {
        value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)
    }
    assert set(first_names(rows(page("streaming"), "code", "when"))) == only_in_events


def test_codes_that_troubleshooting_names() -> None:
    kinds = [value for value in vars(errors).values() if inspect.isclass(value)]
    too_many = {kind.code for kind in kinds if issubclass(kind, DockrionError) and kind.status == 429}
    assert set(first_names(rows(page("troubleshooting"), "code", "cause", "to do"))) == too_many


def test_events() -> None:
    types = events.MANDATORY | events.CONFIGURABLE
    own = {
        name: [field for field in kind.__struct_fields__ if field not in events.COMMON_FIELDS]
        for name, kind in types.items()
    }
    shown = rows(page("streaming"), "type", "fields", "note")
    assert {names(row[0])[0]: names(row[1]) for row in shown[:-1]} == own


def test_events_for_the_vercel_ai_sdk() -> None:
    described = rows(page("vercel-ai-sdk"), "event", "chunks")
    mentioned = {name for row in described for name in names(row[0])}
    assert mentioned == {*events.MANDATORY, *events.CONFIGURABLE, "custom:<name>"}


def test_events_for_ag_ui() -> None:
    described = rows(page("ag-ui"), "event", "in AG-UI")
    mentioned = {name for row in described for name in names(row[0])}
    assert mentioned == {*events.MANDATORY, *events.CONFIGURABLE, "custom:<name>", "custom:values"}


def test_events_for_a2a() -> None:
    described = rows(page("a2a"), "event", "in A2A")
    mentioned = {name for row in described for name in names(row[0])}
    assert mentioned == {*events.MANDATORY, *events.CONFIGURABLE, "custom:<name>"}


def test_events_for_mcp() -> None:
    described = rows(page("mcp"), "event", "in MCP")
    mentioned = [name for row in described for name in names(row[0])]
    assert sorted(mentioned) == sorted({*events.MANDATORY, *events.CONFIGURABLE, "custom:<name>"})


def test_messages_of_ag_ui() -> None:
    described = rows(page("ag-ui"), "message", "what the agent gets")
    mentioned = {name for row in described for name in names(row[0])}
    assert mentioned == {kind.__struct_config__.tag for kind in get_args(ag_ui.Message)}


def test_presets() -> None:
    shown = rows(page("streaming"), "preset", "passes, beside what always passes")
    assert {names(row[0])[0]: set(names(row[1])) for row in shown} == events.PRESETS


def test_presets_that_changed_since_0_0_3() -> None:
    shown = {row[0]: row[2] for row in rows(page("coming-from-0.0.3"), "preset", "0.0.3", "today")}
    assert set(names(shown["`chat`"])) == events.PRESETS["chat"]
    assert events.PRESETS["all"] - events.PRESETS["debug"] == {"custom"}


def test_control_frames() -> None:
    notices = control_frames.Notice.__subclasses__()
    shown = first_names(rows(page("streaming"), "frame", "meaning"))
    assert set(shown) == {"gap", *(str(kind.__struct_config__.tag) for kind in notices)}


def test_close_codes() -> None:
    shown = " ".join(row[0] for row in rows(page("streaming"), "close code", "when"))
    codes = {int(code) for code in re.findall(r"\d+", shown)}
    of_the_protocol = {1000, 1002, 1007, 1011}  # set by aiohttp, or not for an error of the service
    ours = {*websocket._CODE_OF_NOTICE.values(), *websocket._CODE_OF_STATUS.values()}
    assert codes == of_the_protocol | {int(code) for code in ours}


def test_context_methods() -> None:
    shown = dict(names(row[0] + row[1]) for row in rows(page("agents"), "async", "sync twin"))
    refused = {"emit_started", "emit_complete", "emit_error", "emit_cancelled"}
    for declared, twin in shown.items():
        assert declared == signature(StreamContext, declared.partition("(")[0])
        assert hasattr(StreamContext, twin)
    emits = {name for name in dir(StreamContext) if name.startswith("emit") or name == "checkpoint"}
    assert {declared.partition("(")[0] for declared in shown} == emits - refused


@pytest.mark.parametrize(("name", "function"), [("questions", StreamContext.ask), ("testing", record)])
def test_arguments(name: str, function: Any) -> None:
    shown = {each for row in rows(page(name), "argument", "what it is") for each in names(row[0])}
    assert shown == inspect.signature(function).parameters.keys() - {"self", "agent", "payload"}


def signature(kind: type, name: str) -> str:
    """Return a method's name and parameters, without annotations."""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(getattr(kind, name)).parameters.values()
        if parameter.name != "self"
    ]
    return name + str(inspect.Signature(parameters))


def test_metrics() -> None:
    table = rows(page("metrics"), "metric", "labels", "what")
    shown = {names(row[0])[0]: ["agent", *names(row[1])] for row in table}
    assert shown == declared_labels(with_everything())


def test_dependencies() -> None:
    table = rows(page("operations"), "dependency", "there", "states other than `up`")
    source = (ROOT / "dockrion/web/readiness.py").read_text()
    reported = re.findall(r'^ {12}"(\w+)": (?:_|self\._)report|reports\["(\w+)"\] =', source, re.MULTILINE)
    assert sorted(first_names(table)) == sorted(first or second for first, second in reported)
    assert {"up", *(name for row in table for name in names(row[2]))} >= set(get_args(State))


def test_webhooks() -> None:
    shown = first_names(rows(page("webhooks"), "field", "what"))
    assert sorted(shown) == sorted(WebhookTargetSpec.__struct_fields__)
    added = declared_labels(with_everything()).keys() - declared_labels(Metrics("tested")).keys()
    shown = first_names(rows(page("webhooks"), "metric", "what"))
    assert set(shown) == {name for name in added if "webhooks" in name}


def test_traces() -> None:
    shown = first_names(rows(page("tracing"), "field", "what", "instead of the variable"))
    assert shown == list(TracingSpec.__struct_fields__)
    events = conventions.ATTEMPT, conventions.FIRST_TOKEN, conventions.CHECKPOINT, conventions.CANCEL
    assert first_names(rows(page("tracing"), "event", "when")) == list(events)
    known = {value for value in vars(conventions).values() if isinstance(value, str)}
    assert set(re.findall(r"`((?:gen_ai|dockrion)\.[\w.]+)`", read(page("tracing")))) <= known


def test_the_receiver_of_webhooks_verifies_them() -> None:
    (receiver,) = blocks(page("webhooks"), "python")
    code: dict[str, Any] = {}
    exec(receiver.text, code)
    now, body = int(time.time()), b'{"type":"run.completed"}'

    def verified(timestamp: int, sent: bytes = body) -> bool:
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,xx {Secret(WEBHOOK_SECRET).sign('msg_1', timestamp, body)}",
        }
        return bool(code["verify"](WEBHOOK_SECRET, headers, sent))

    assert verified(now)
    assert not verified(now, body + b" ")
    assert not verified(now - 600)


def test_metrics_renamed_since_0_0_3() -> None:
    there = declared_labels(Metrics("tested"))
    for _, today in rows(page("coming-from-0.0.3"), "metric of 0.0.3", "today"):
        name, _, labels = names(today)[0].rstrip("}").partition("{")
        assert there[name] == labels.split(", ")


def test_limits() -> None:
    shown = first_names(rows(page("limits"), "limit", "bounds", "when exceeded"))
    assert sorted(shown) == sorted(LimitsSpec.__struct_fields__)


def test_permissions(tmp_path: Path) -> None:
    served = routes(dockfile(tmp_path, EVERYTHING).dockfile)
    needed = {permission for route in served for permission in route.rule.permissions}
    shown = set(first_names(rows(page("authentication"), "permission", "opens")))
    assert shown == needed
    without_effect = {"deploy", "rollback", "key_manage"}
    assert Roles([]).permissions(()) == shown - {"read_logs", "respond"} | without_effect


def test_caller_fields() -> None:
    section = read(page("authentication")).partition("## Caller identity")[2]
    assert set(Caller.__struct_fields__) - {"expires_at"} <= set(names(section))


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [action] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(action.choices)


def options(command: str) -> set[str]:
    actions = subparsers(_parser(command))[command]._actions
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    return {name for action in shown for name in action.option_strings if name.startswith("--")} - {"--help"}


def test_commands_and_their_options() -> None:
    shown = {names(row[0])[0]: set(names(row[2])) for row in rows(page("operations"), *COMMANDS)}
    commands = {f"dockrion {name}" for name in subparsers(_parser(""))}
    assert set(shown) == commands
    for command, listed in shown.items():
        name = command.removeprefix("dockrion ")
        assert listed == options(name) or (name, listed) == ("load", set())


COMMANDS = ("command", "what it does", "options")


def test_options_of_the_load_test() -> None:
    shown = rows(page("load"), "option", "what", "default")
    assert {option for row in shown for option in names(row[0])} == options("load")
    given = subparsers(_parser("load"))["load"].parse_args(["http://localhost:8080"])
    for row in shown:
        name = names(row[0])[0].removeprefix("--").replace("-", "_")
        default = getattr(given, name)
        if row[2] and name != "runs":
            expected = default.decode() if isinstance(default, bytes) else default
            assert row[2].strip("`") in (str(expected), f"{expected:g}" if expected == 0 else "")


def test_methods_of_the_client() -> None:
    shown = [names(row[0])[0] for row in rows(page("clients"), "method", "what it does")]
    public = {
        name for name, value in vars(client.Client).items() if callable(value) and not name.startswith("_")
    }
    assert {declared.partition("(")[0] for declared in shown} == public
    for declared in shown:
        assert declared == signature(client.Client, declared.partition("(")[0]).replace("*, ", "")


def test_exceptions_of_the_client() -> None:
    shown = {names(row[0])[0]: row[1] for row in rows(page("clients"), "exception", "raised for")}
    kinds = {
        name
        for name in dockrion.client.__all__
        if inspect.isclass(kind := getattr(dockrion.client, name))
        and issubclass(kind, client.ClientError)
        and kind is not client.ClientError
    }
    assert set(shown) == kinds
    statuses: dict[str, list[str]] = {}
    for status, kind in client_errors._BY_STATUS.items():
        statuses.setdefault(kind.__name__, []).append(str(status))
    assert {name: " and ".join(found) for name, found in statuses.items()} == {
        name: shown[name] for name in statuses
    }


def test_ways_to_run_an_agent_on_the_page() -> None:
    index = (ROOT / "dockrion/web/page/index.html").read_text()
    offered = re.findall(r'data-endpoint="([^"]+)"[^>]*>\s*<span[^>]*>([^<]*)</span>', index)
    shown = rows(page("clients"), "choice", "request", "what it does")
    assert [(names(request)[0], choice) for choice, request, _ in shown] == offered


def test_headers_for_agent_processes() -> None:
    modules = (
        ROOT / "dockrion/agents" / name
        for name in ("remote_run.py", "identity_headers.py", "servers/dockrion.py")
    )
    source = "".join(module.read_text() for module in modules)
    sent = set(re.findall(r'"(X-Dockrion-[\w-]+|Authorization)":', source))
    sent |= CallerRequest("a", request_id="b", tracestate="c").context_headers.keys()
    about_the_caller = set(re.findall(r"X-Dockrion-[\w-]+", read(page("authentication"))))
    assert {
        name for row in rows(page("sidecar"), "header", "value") for name in names(row[0])
    } | about_the_caller == sent


def test_kinds_of_redis_failures() -> None:
    shown = {kind for row in rows(page("troubleshooting"), "kind", "what to do") for kind in names(row[0])}
    assert shown == set(failures.ADVICE) - {"UNBLOCKED"}  # which is not logged


def test_codes_that_changed_since_0_0_3() -> None:
    codes = {
        value.code for value in vars(errors).values() if inspect.isclass(value) and hasattr(value, "code")
    }
    shown = [row[2] for row in rows(page("coming-from-0.0.3"), "case", "0.0.3", "today")]
    assert {code for cell in shown for code in names(cell) if code.isupper()} <= codes


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_paths_exist(page: Path) -> None:
    for path in re.findall(r"(?<![/\w])(?:dockrion|config|tests)/[\w./-]+[\w/]", read(page)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_fields_exist(page: Path) -> None:
    known = fields()
    sections = {name for name in known if "." not in name} - {"metadata"}  # runs have some, too
    prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", prose):
        if name.partition(".")[0] in sections and not name.endswith(".py"):
            assert name in known, name


def fields() -> set[str]:
    """Return every field and section of the Dockfile, as a path with dots."""
    found: set[str] = set()
    section = ""
    for line in table().splitlines()[2:]:
        _, first, field, *_ = (cell.strip().strip("`") for cell in line.split("|"))
        section = first or section
        parts = [section, *filter(None, field.split("."))]
        found |= {".".join(parts[: index + 1]) for index in range(len(parts))}
    return found


def test_figures_of_the_readme() -> None:
    comparison = read(README).partition("## How it compares")[2].partition("**LangServe**")[0]
    figures = set(re.findall(r"\d[\d,]*(?:\.\d+)?(?= times| events/s| `POST| complete| KiB)", comparison))
    speed = read(page("load")).partition("## Speed")[2]
    assert figures
    assert {figure for figure in figures if figure not in speed} == set()


def test_messages_in_headings_of_troubleshooting_are_those_of_the_code() -> None:
    headings = re.findall(r"^### .*?`([a-z ]+) …`", read(page("troubleshooting")), re.MULTILINE)
    source = "".join(path.read_text() for path in (ROOT / "dockrion").rglob("*.py"))
    assert headings
    for message in headings:
        assert f"{message} " in source, message
