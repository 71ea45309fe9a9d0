"""Alertmanager: who hears of what, and what is held back. Asked of Alertmanager's own programs."""

import json
from pathlib import Path
from typing import Any

import monitoring
import pytest
import render

CONF = "/opt/aicluster/alertmanager/"
URLS = {f"alertmanager_{name}_url": f"https://{name}.invalid/hook" for name in ("page", "default", "deadman")}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rendered = render.render_role("alertmanager", overrides=URLS)
    for path in [path for path in rendered if path.startswith(CONF)]:
        target = tmp_path / path.removeprefix(CONF)
        target.parent.mkdir(exist_ok=True)
        target.write_text(rendered[path])
    return tmp_path


@pytest.mark.parametrize(("labels", "receiver"), [
    pytest.param("alertname=TargetDown severity=warning node=PI52", "default", id="a warning does not page"),
    pytest.param("alertname=Other node=PI52", "default", id="nor does what has no severity"),
    pytest.param("alertname=VerifyTest severity=test run_id=1 node=PI41", "verify",
        id="a test alert reaches verify and nobody else"),
])  # fmt: skip
def test_a_route_leads_to_its_receiver(labels, receiver, config):
    script = (
        f"amtool config routes test --config.file=alertmanager.yml --verify.receivers={receiver} {labels}"
    )
    monitoring.succeeds("alertmanager", script, config)


# Alertmanager itself, with alerts that were given to it; it prints those that are held back.
INHIBITED = """
alertmanager --config.file=alertmanager.yml --storage.path=/tmp/alertmanager-test-$$ \
  --cluster.listen-address= --web.listen-address=127.0.0.1:19093 >/dev/null 2>&1 &
url=http://127.0.0.1:19093
for _ in $(seq 50); do amtool --alertmanager.url=$url alert query >/dev/null 2>&1 && break; sleep 0.1; done
{alerts}
sleep 1
amtool --alertmanager.url=$url alert query --inhibited --output=json
kill $!
"""


def held_back(config: Path, alerts: list[str]) -> list[dict[str, Any]]:
    added = "\n".join(f"amtool --alertmanager.url=$url alert add {labels}" for labels in alerts)
    text = monitoring.succeeds("alertmanager", INHIBITED.replace("{alerts}", added), config)
    found: list[dict[str, Any]] = json.loads(text)
    return sorted((alert["labels"] for alert in found), key=str)


def test_what_a_dead_node_or_a_dead_service_breaks_is_no_news(config):
    alerts = [
        "NodeDown severity=critical node=PI52",
        "NodeDown severity=critical node=PI31",
        "PostgresDown severity=critical node=PI52",
        "TargetDown severity=warning node=PI51 service=kong",
        "ServiceFailed severity=warning node=PI51 service=kong",
        "ProbeFailing severity=warning node=PI51 service=grafana",
        "ProbeFailing severity=warning node=ORIN0 service=kong",
        "IngressDown severity=critical node=PI51 service=nginx",
        "Watchdog severity=none node=cluster",
        "NoNode severity=critical",
    ]
    assert held_back(config, alerts) == [
        {"alertname": "PostgresDown", "node": "PI52", "severity": "critical"},
        {"alertname": "TargetDown", "node": "PI51", "service": "kong", "severity": "warning"},
    ]
