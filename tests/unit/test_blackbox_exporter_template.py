"""What the blackbox exporter is told: ways to ask, with less patience than who waits for it."""

import render
import yaml


def test_a_probe_ends_before_the_scrape_that_waits_for_it():
    scrape = yaml.safe_load(render.render_role("prometheus")["/opt/aicluster/prometheus/prometheus.yml"])
    probes = yaml.safe_load(
        render.render_role("blackbox_exporter")["/opt/aicluster/blackbox_exporter/config.yml"]
    )
    patience = int(scrape["global"]["scrape_timeout"].removesuffix("s"))
    assert all(int(one["timeout"].removesuffix("s")) < patience for one in probes["modules"].values())
