"""What the blackbox exporter is told: ways to ask, with less patience than who waits for it."""

from typing import Any

import render
import yaml

CONF = "/opt/aicluster/blackbox_exporter/"


def modules(**overrides: Any) -> dict[str, dict[str, Any]]:
    parsed = yaml.safe_load(render.render_role("blackbox_exporter", overrides=overrides)[CONF + "config.yml"])
    found: dict[str, dict[str, Any]] = parsed["modules"]
    return found


def test_a_probe_ends_before_the_scrape_that_waits_for_it():
    scrape = yaml.safe_load(render.render_role("prometheus")["/opt/aicluster/prometheus/prometheus.yml"])
    patience = int(scrape["global"]["scrape_timeout"].removesuffix("s"))
    assert all(int(module["timeout"].removesuffix("s")) < patience for module in modules().values())
