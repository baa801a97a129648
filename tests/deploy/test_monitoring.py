"""Prometheus and Grafana files ask only for metrics that a gateway exports."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from routing.calibration.artefact import encode
from service.app import create_app
from service.settings import Settings
from service.workers.redis import RedisBackend
from tests.service.test_calibrated import artefact_of

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

METRIC = re.compile(r"\b(?:vllm|pollux):[a-z0-9_]+")


def expressions() -> Iterator[str]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["query"]["query"]
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of series as Prometheus stores them, from an application's own registry."""
    backend = RedisBackend("redis://localhost:1", "model")
    calibration = tmp_path_factory.mktemp("calibration") / "calibration.json"
    calibration.write_bytes(encode(artefact_of()))
    settings = Settings(redis="redis://localhost:1", calibration=calibration)
    metrics = create_app(settings, backend).state.gateway.metrics
    names: set[str] = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    return names


def test_every_metric_asked_for_is_exported(exported: set[str]) -> None:
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(asked) > 20
    assert asked - exported == set()


def test_every_panel_says_what_it_shows_and_fits_the_grid() -> None:
    places = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert (place["x"], place["y"]) not in places
        places.add((place["x"], place["y"]))
    assert all(panel["description"] and panel["title"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_asks_the_provisioned_source() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in PANELS} == uids
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for source in sources["datasources"]:
        assert re.fullmatch(r"http://(\w+):\d+", source["url"])[1] in compose
    providers = yaml.safe_load((folder / "dashboards" / "pollux.yaml").read_text())["providers"]
    mounts = [mount.split(":")[1] for mount in compose["grafana"]["volumes"]]
    assert any(mount.startswith(providers[0]["options"]["path"]) for mount in mounts)


def test_prometheus_scrapes_the_gateways_of_the_compose_file() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    discovery = PROMETHEUS["scrape_configs"][0]["dns_sd_configs"][0]
    assert set(discovery["names"]) <= set(compose)
    assert discovery["port"] == Settings.model_fields["port"].default
    for name in PROMETHEUS["rule_files"]:
        assert (DEPLOY / "prometheus" / name).exists()


@pytest.mark.parametrize("what", ["config prometheus.yml", "rules rules.yml"])
def test_promtool_accepts(what: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    kind, name = what.split()
    checked = subprocess.run(
        [promtool, "check", kind, DEPLOY / "prometheus" / name], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "1m")}
        for number, target in enumerate(t for panel in PANELS for t in panel["targets"])
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_drift_alarms_when_it_stays_above_its_limit_and_not_before(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    labels = '{model_name="m", engine="0"}'
    alert = {
        "exp_labels": {"model_name": "m", "engine": "0", "severity": "warning"},
        "exp_annotations": next(
            {name: " ".join(text.split()).replace("{{ $labels.model_name }}", "m")
             for name, text in rule["annotations"].items()}
            for group in RULES["groups"] for rule in group["rules"]
            if rule["alert"] == "PolluxConsensusDrift"
        ),
    }  # fmt: skip
    case = {
        "interval": "1m",
        "input_series": [
            # Nothing is said at first, then it drifts from the tenth minute on.
            {"series": f"pollux:routing_drift{labels}", "values": "NaN NaN " * 5 + "0.4x30"},
            {"series": f"pollux:routing_drift_limit{labels}", "values": "0.2x45"},
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": "PolluxConsensusDrift", "exp_alerts": alerts}
            for minute, alerts in ((10, []), (20, []), (30, [alert]))
        ],
    }
    rules = DEPLOY / "prometheus" / "rules.yml"
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [case]})
    )
    checked = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
