"""The configuration of both Prometheus and of the probes, read by the programs themselves."""

import copy
from pathlib import Path
from typing import Any

import monitoring
import pytest
import render

CONF = "/opt/aicluster/prometheus/"
PLACED = [
    pytest.param(inventory, host, id=f"{inventory}-{host}")
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("prometheus", inventory)
]


def write(files: dict[str, str], folder: Path) -> None:
    for path, text in files.items():
        target = folder / path.removeprefix(CONF)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def with_tokens() -> list[dict[str, Any]]:
    """The cluster with services that ask for a token, be asked rarely or often, or are inactive at times."""
    nodes = copy.deepcopy(render.cluster("production"))
    ai = next(node for node in nodes if node["tier"] == "secondary_ai")
    port = {"port": 9000, "container": 9000, "from": ["gateway", "monitoring"]}
    for name, metrics in {
        "scanner": {"port": "web", "path": "/m?x=1&y=%20", "interval_s": 120, "token": "kong_api_key"},
        "pulse": {"port": "web", "path": "/metrics", "interval_s": 5},
    }.items():
        ai["services"][name] = {**ai["services"]["ollama"], "ports": {"web": port}, "metrics": metrics}
    ai["profiles"] = {"scanning": ["scanner"], "drawing": []}
    return nodes


@pytest.mark.parametrize(("inventory", "host"), PLACED)
def test_promtool_takes_the_configuration(inventory, host, tmp_path):
    write(render.render_role("prometheus", inventory=inventory, host=host), tmp_path)
    monitoring.succeeds("prometheus", "promtool check config prometheus.yml", tmp_path)


def test_promtool_takes_tokens_and_intervals(tmp_path):
    nodes = with_tokens()
    write(render.render_role("prometheus", overrides={"cluster_nodes": nodes}), tmp_path)
    assert (tmp_path / "secrets/scrape.yml").is_file()
    assert "scanner" not in (tmp_path / "prometheus.yml").read_text()
    monitoring.succeeds("prometheus", "promtool check config prometheus.yml", tmp_path)


@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_the_program_knows_every_option_it_is_started_with(service, tmp_path):
    """With a configuration that is missing it gets as far as reading its options, and no further."""
    command = render.compose_of(service)["services"][service]["command"]
    options = " ".join(f"'{option}'" for option in command if not option.startswith("--config.file="))
    done = monitoring.shell(service, f"{service} --config.file=missing.yml {options}", tmp_path)
    assert done.returncode != 0
    assert "missing.yml" in done.stderr, done.stderr
    assert "flag" not in done.stderr.lower(), done.stderr
