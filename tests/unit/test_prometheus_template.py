"""What the two Prometheus and the log store are told, each within what its node has."""

import re
from typing import Any

import pytest
import render
import yaml

CONF = "/opt/aicluster/prometheus/"
BIG, SMALL = "192.168.1.147", "192.168.1.204"
UNITS = {"MB": 1 / 1024, "MiB": 1 / 1024, "GB": 1}


def options(service: str, host: str) -> dict[str, str]:
    command = render.container(service, host=host)["command"]
    return dict(option.split("=", 1) for option in command)


def entry(service: str, host: str) -> dict[str, Any]:
    [node] = [node for node in render.cluster("production") if node["host"] == host]
    return dict(node["services"][service])


def test_without_an_alertmanager_nobody_is_told():
    text = render.render_role("prometheus", overrides=render.without("alertmanager"))[CONF + "prometheus.yml"]
    assert "alerting" not in yaml.safe_load(text)


def test_a_probe_ends_before_the_scrape_that_waits_for_it():
    scrape = yaml.safe_load(render.render_role("prometheus")[CONF + "prometheus.yml"])
    exporter = render.render_role("blackbox_exporter")["/opt/aicluster/blackbox_exporter/config.yml"]
    patience = int(scrape["global"]["scrape_timeout"].removesuffix("s"))
    probes = yaml.safe_load(exporter)["modules"].values()
    assert all(int(one["timeout"].removesuffix("s")) < patience for one in probes)


@pytest.mark.parametrize(("service", "host", "option"), [
    ("prometheus", BIG, "--storage.tsdb.retention.size"),
    ("prometheus", SMALL, "--storage.tsdb.retention.size"),
    ("victorialogs", SMALL, "-retention.maxDiskSpaceUsageBytes"),
])  # fmt: skip
def test_what_is_kept_leaves_a_fifth_of_the_disk(service, host, option):
    size = re.fullmatch(r"(\d+)(MB|MiB|GB)", options(service, host)[option])
    assert size
    assert int(size[1]) * UNITS[size[2]] <= 0.8 * entry(service, host)["disk_gb"]


@pytest.mark.parametrize("host", [BIG, SMALL])
def test_one_query_takes_half_of_the_memory_at_most(host):
    samples = int(options("prometheus", host)["--query.max-samples"])
    assert samples * 16 < entry("prometheus", host)["memory_mb"] * 2**20 / 2
