"""The configuration of both Prometheus, read by promtool."""

import monitoring
import pytest
import render

CONF = "/opt/aicluster/prometheus/"
PLACED = [
    pytest.param(inventory, host, id=f"{inventory}-{host}")
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("prometheus", inventory)
]


@pytest.mark.parametrize(("inventory", "host"), PLACED)
def test_promtool_takes_the_configuration(inventory, host, tmp_path):
    for path, text in render.render_role("prometheus", inventory=inventory, host=host).items():
        target = tmp_path / path.removeprefix(CONF)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    monitoring.succeeds("prometheus", "promtool check config prometheus.yml", tmp_path)
