"""What the two Prometheus are told: one looks at everything, one watches it."""

import re
from typing import Any

import pytest
import render
import yaml

CONF = "/opt/aicluster/prometheus/"
BIG, SMALL = "192.168.1.147", "192.168.1.204"
UNITS = {"MB": 1 / 1024, "GB": 1}


def options(host: str) -> dict[str, str]:
    command = render.container("prometheus", host=host)["command"]
    return dict(option.split("=", 1) for option in command)


def entry(host: str) -> dict[str, Any]:
    [node] = [node for node in render.cluster("production") if node["host"] == host]
    return dict(node["services"]["prometheus"])


def test_without_an_alertmanager_nobody_is_told():
    text = render.render_role("prometheus", overrides=render.without("alertmanager"))[CONF + "prometheus.yml"]
    assert "alerting" not in yaml.safe_load(text)


def test_a_probe_ends_before_the_scrape_that_waits_for_it():
    scrape = yaml.safe_load(render.render_role("prometheus")[CONF + "prometheus.yml"])
    exporter = render.render_role("blackbox_exporter")["/opt/aicluster/blackbox_exporter/config.yml"]
    patience = int(scrape["global"]["scrape_timeout"].removesuffix("s"))
    probes = yaml.safe_load(exporter)["modules"].values()
    assert all(int(one["timeout"].removesuffix("s")) < patience for one in probes)


@pytest.mark.parametrize("host", [BIG, SMALL])
def test_samples_leave_a_fifth_of_the_disk_and_one_query_half_of_the_memory(host):
    size = re.fullmatch(r"(\d+)(MB|GB)", options(host)["--storage.tsdb.retention.size"])
    assert size
    assert int(size[1]) * UNITS[size[2]] <= 0.8 * entry(host)["disk_gb"]
    assert int(options(host)["--query.max-samples"]) * 16 < entry(host)["memory_mb"] * 2**20 / 2
