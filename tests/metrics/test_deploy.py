"""The alert rules and the dashboard in config/deploy name metrics, labels and values that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.exposition import declared_labels, with_everything
from tests.guide.pages import blocks, names, page, rows
from tests.guide.services import ROOT

DEPLOY = ROOT / "config/deploy"
ADDED = {"instance", "le"}  # by Prometheus, and in histograms
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
VARIABLES = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
QUERIES = [each["expr"] for each in [*RULES, *TARGETS]] + VARIABLES
METRICS = declared_labels(with_everything())
_SELECTOR = re.compile(r"(dockrion_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def promtool(*arguments: str, folder: Path | None = None, stdin: str | None = None) -> str:
    """Run promtool, and return what it prints."""
    program = shutil.which("promtool")
    assert program, "the tests need promtool: install Debian's prometheus"
    done = subprocess.run(
        [program, *arguments], cwd=folder, input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def family(name: str) -> str:
    """Return the name of the metric that a name in a query belongs to."""
    return name if name in METRICS else _SUFFIX.sub("", name)


def test_metrics_and_labels_exist() -> None:
    for query in QUERIES:
        used = _SELECTOR.findall(query)
        assert used, query
        known = ADDED.copy()
        for name, matchers in used:
            assert family(name) in METRICS, query
            labels = {*METRICS[family(name)], *ADDED}
            assert {label for label, _, _ in _MATCHER.findall(matchers)} <= labels, query
            known |= labels
        for grouped in re.findall(r"\bby \(([^)]*)\)", query):
            assert {label.strip() for label in grouped.split(",")} <= known, query
        assert set(re.findall(r"label_values\(.*, (\w+)\)", query)) <= known, query


def test_values_of_labels_exist() -> None:
    exposed = with_everything().exposition()[0].decode()
    equal = {
        (name, label, value)
        for query in QUERIES
        for name, matchers in _SELECTOR.findall(query)
        for label, operator, value in _MATCHER.findall(matchers)
        if operator == "=" and label != "status"
    }
    assert {label for _, label, _ in equal} == {"outcome", "state"}
    for name, label, value in equal:
        assert re.search(rf'^{name}{{.*{label}="{value}"', exposed, re.MULTILINE), (name, label, value)


def test_legends_show_labels_of_their_queries() -> None:
    for target in TARGETS:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
        assert shown <= set(re.findall(r"\w+", grouped[1]) if grouped else ())


def test_panels_have_places_and_ids_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_rules_and_queries_parse(tmp_path: Path) -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(DEPLOY / "alerts.yaml"))
    variables = {"$__rate_interval": "5m", "$agent": ".*", "$instance": ".*"}
    queries = [target["expr"] for target in TARGETS]
    for variable, value in variables.items():
        queries = [query.replace(variable, value) for query in queries]
    assert not any("$" in query for query in queries)
    recorded = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", str(tmp_path / "panels.yaml"))


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    cases = (Path(__file__).parent / "alerts.test.yaml").read_text()
    (tmp_path / "alerts.test.yaml").write_text(cases)
    (tmp_path / "alerts.yaml").write_text((DEPLOY / "alerts.yaml").read_text())
    promtool("test", "rules", "alerts.test.yaml", folder=tmp_path)
    assert set(re.findall(r'alertname="(\w+)"', cases)) == {rule["alert"] for rule in RULES}


def test_guide_says_what_to_do_about_each_alert() -> None:
    shown = [names(row[0])[0] for row in rows(page("metrics"), "alert", "what to do")]
    assert shown == [rule["alert"] for rule in RULES]


def test_exposition_passes_the_checks_of_promtool() -> None:
    metrics = with_everything()
    metrics.requests.count("GET", "/runs/{run_id}", 200, 0.1, streamed=False)
    metrics.requests.count("GET", "/runs/{run_id}/events", 200, 0.1, streamed=True)
    metrics.runs.count_duration("completed", 0.1)
    metrics.runs.count_tokens({'"quoted"\\': {"input_tokens": 1, "output_tokens": 1}})
    assert promtool("check", "metrics", stdin=metrics.exposition()[0].decode()) == ""


def test_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    [example] = [block.text for block in blocks(page("metrics"), "text") if "scrape_configs" in block.text]
    (tmp_path / "prometheus.yml").write_text(example)
    promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    assert Path(yaml.safe_load(example)["rule_files"][0]).name == "alerts.yaml"
