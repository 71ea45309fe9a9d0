"""What Alertmanager is told. Where its routes lead is asked of amtool: tests/monitoring/test_routes.py."""

from typing import Any

import pytest
import render
import yaml
from by_path import import_file
from tree import load

CONF = "/opt/aicluster/alertmanager/"
SECRET_URL = "https://hooks.invalid/T0KEN"


def config(**overrides: Any) -> dict[str, Any]:
    text = render.render_role("alertmanager", overrides=overrides)[CONF + "alertmanager.yml"]
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


def receivers(**overrides: Any) -> dict[str, dict[str, Any]]:
    return {receiver["name"]: receiver for receiver in config(**overrides)["receivers"]}


@pytest.mark.parametrize("name", ["page", "default", "deadman"])
def test_a_receiver_without_a_url_tells_nobody(name):
    assert receivers()[name] == {"name": name}
    assert CONF + f"secrets/{name}_url" not in render.render_role("alertmanager")


@pytest.mark.parametrize("name", ["page", "default", "deadman"])
def test_a_url_is_a_secret_file_and_nowhere_else(name):
    overrides = {f"alertmanager_{name}_url": SECRET_URL}
    assert receivers(**overrides)[name]["webhook_configs"] == [
        {"url_file": f"/etc/alertmanager/secrets/{name}_url"}
    ]
    files = {file.path: file for file in render.files_of("alertmanager", overrides=overrides)}
    secret = files.pop(CONF + f"secrets/{name}_url")
    assert secret.content.decode().strip() == SECRET_URL
    assert (secret.mode, secret.uid) == ("0400", 65534)
    assert not [path for path, file in files.items() if SECRET_URL in file.content.decode()]


def test_alerts_are_told_together_by_name_and_node():
    route = config()["route"]
    assert (route["group_by"], route["group_wait"]) == (["alertname", "node"], "30s")
    assert (route["group_interval"], route["repeat_interval"]) == ("300s", "12h")


def test_the_watchdog_is_told_every_few_minutes():
    [watchdog] = [route for route in config()["route"]["routes"] if route["receiver"] == "deadman"]
    assert watchdog["repeat_interval"] == "300s"
    assert watchdog["group_interval"] == "60s", "the repetition happens at the end of a group's interval"


def test_what_is_critical_is_repeated_sooner():
    [critical] = [route for route in config()["route"]["routes"] if route["receiver"] == "page"]
    assert critical["repeat_interval"] == "1h"


def test_no_inhibition_meets_alerts_that_both_lack_a_label():
    for rule in config()["inhibit_rules"]:
        asked = " ".join(rule["target_matchers"])
        for label in set(rule["equal"]) - {"node"} or {"node"}:
            assert f'{label}=~".+"' in asked


def test_the_check_of_verify_listens_where_its_receiver_posts():
    check = import_file("roles/alertmanager/templates/opt/aicluster/checks/alertmanager.py", "check_am")
    [hook] = receivers()["verify"]["webhook_configs"]
    assert hook == {"url": f"http://127.0.0.1:{check.PORT}/", "send_resolved": False}


def test_there_is_nobody_to_gossip_with():
    container = render.compose_of("alertmanager")["services"]["alertmanager"]
    assert "--cluster.listen-address=" in container["command"]


def test_it_needs_no_capability_and_writes_to_its_volume_only():
    container = render.compose_of("alertmanager")["services"]["alertmanager"]
    assert container["user"] == "65534:65534"
    assert container["cap_drop"] == ["ALL"] and "cap_add" not in container
    assert container["read_only"] is True
    assert container["volumes"] == [
        "/opt/aicluster/alertmanager:/etc/alertmanager:ro",
        "alertmanager_data:/alertmanager",
    ]


def test_the_rules_that_hold_others_back_exist():
    names = {
        rule["alert"]
        for subject in ("nodes", "services")
        for group in load(f"roles/prometheus/templates/opt/aicluster/prometheus/rules/{subject}.yml")[
            "groups"
        ]
        for rule in group["rules"]
    }
    assert {"NodeDown", "ServiceBroken", "TargetDown", "ProbeFailing"} <= names
