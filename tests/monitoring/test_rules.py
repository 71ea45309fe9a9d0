"""Alert rules: each has unit tests, and says whom and what.

`<subject>_test.yml` lists the cases of rules/<subject>.yml: series as promtool writes them, with a value each
minute or `every` other time, and which alert is quiet at a time, or fires then, with its labels, and not at
another. `summary` and `next` are those of the rule with these labels; a case says them where they hold more.
"""

import re
from pathlib import Path
from typing import Any

import monitoring
import pytest
import tree
import yaml
from tree import load

HERE = Path(__file__).parent
SUBJECTS = sorted(path.stem for path in monitoring.RULES.glob("*.yml"))
ALERT = re.compile(r"(\w+)(?:\{(.*)\})? at (\w+)(?:, not at (\w+))?")
LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
SEVERITIES = {"critical", "warning", "none"}


def rules_of(subject: str) -> list[dict[str, Any]]:
    groups = load(monitoring.RULES / f"{subject}.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = [pytest.param(subject, rule, id=rule["alert"]) for subject in SUBJECTS for rule in rules_of(subject)]
every_rule = pytest.mark.parametrize(("subject", "rule"), RULES)


def annotations(rule: dict[str, Any], said: dict[str, str], labels: dict[str, str]) -> dict[str, str]:
    """What is said of an alert that fires; KeyError for a label it does not have."""
    return {
        name: said.get(name) or LABEL.sub(lambda found: labels[found[1]], text)
        for name, text in rule["annotations"].items()
    }


def expected(subject: str, alerts: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The alerts of a case in promtool's words; those that fire under one name at one time are together."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    rules = {rule["alert"]: rule for rule in rules_of(subject)}
    for one in alerts:
        alert = ALERT.fullmatch(one.get("fires") or one["quiet"])
        assert alert, one
        name, listed, at, quiet = alert.groups()
        for time in filter(None, (at, quiet)):
            found.setdefault((name, time), {"eval_time": time, "alertname": name, "exp_alerts": []})
        if "fires" in one:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', listed))
            said = annotations(rules[name], one, labels)
            found[name, at]["exp_alerts"].append({"exp_labels": labels, "exp_annotations": said})
    return list(found.values())


def promtool_test(subject: str) -> dict[str, Any]:
    """The cases of a file of rules as promtool reads them."""
    tests = [
        {
            "name": case["case"],
            "interval": case.get("every", "1m"),
            "input_series": [
                {"series": series, "values": values} for series, values in case.get("series", {}).items()
            ],
            "alert_rule_test": expected(subject, case["alerts"]),
        }
        for case in load(HERE / f"{subject}_test.yml")
    ]
    step = min(test["interval"] for test in tests)
    return {"rule_files": [f"{monitoring.RULES}/{subject}.yml"], "evaluation_interval": step, "tests": tests}


def cases(subject: str, alert: str) -> list[dict[str, Any]]:
    tests = promtool_test(subject)["tests"]
    return [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_unit_tests_of_a_file_of_rules_pass(subject, tmp_path):
    (tmp_path / "test.yml").write_text(yaml.safe_dump(promtool_test(subject), width=10_000))
    monitoring.succeeds("prometheus", "promtool test rules test.yml", tmp_path)


def test_promtool_finds_nothing_to_say_about_the_rules():
    monitoring.succeeds(
        "prometheus", f"promtool check rules --lint=all --lint-fatal {monitoring.RULES}/*.yml"
    )


@every_rule
def test_a_rule_is_tested_firing_and_quiet(subject, rule):
    found = cases(subject, rule["alert"])
    assert [case for case in found if case["exp_alerts"]], "no test in which it fires"
    if rule["alert"] != "Watchdog":  # which is never quiet
        assert [case for case in found if not case["exp_alerts"]], "no test in which it is quiet"


@every_rule
def test_an_alert_names_node_severity_and_what_to_do(subject, rule):
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"].endswith("."), "a sentence"
    assert rule["annotations"]["next"]
    # Who reads it may know neither the folder nor the inventories of a playbook.
    assert not re.search(r"ansible-playbook|playbooks/|site\.yml", " ".join(rule["annotations"].values()))
    for case in cases(subject, rule["alert"]):
        for alert in case["exp_alerts"]:
            assert alert["exp_labels"]["node"], "an alert without a node is inhibited by any dead one"


def test_an_upstream_that_is_asked_for_is_one_of_kongs():
    files = [*monitoring.RULES.glob("*.yml"), *(tree.ROOT / "roles/grafana/files/dashboards").glob("*.yml")]
    asked = {name for file in files for name in re.findall(r'upstream="([^"]*)"', file.read_text())}
    pools = {route["pool"] for route in load("roles/kong/vars/main.yml")["__kong_routes"]}
    assert asked and asked <= pools


def test_every_file_of_rules_is_loaded_by_the_prometheus_of_everything():
    scopes = load("roles/prometheus/vars/main.yml")["__prometheus_rules"]
    assert sorted(scopes["all"]) == SUBJECTS
    assert set(scopes["watch"]) < set(scopes["all"])
    assert {"nodes", "watch"} <= set(scopes["watch"])
