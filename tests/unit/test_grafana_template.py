"""What the role `grafana` puts on its nodes: the operators' Grafana, and the one behind nginx for looking."""

from copy import deepcopy
from typing import Any

import pytest
import render

HOME = "/opt/aicluster/grafana/"
PI51, PI41 = "192.168.1.147", "192.168.1.204"
LOCATIONS = "/opt/aicluster/nginx/conf/locations/ingress.conf"
NODES = [(i, host) for i in sorted(render.SOURCES) for host in render.hosts_running("grafana", i)]
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def container(host: str = PI41, inventory: str = "production") -> dict[str, Any]:
    return render.container("grafana", inventory=inventory, host=host)


def test_visitors_may_look_at_the_gateway_s_alone_and_only_through_nginx():
    seen = {host: container(host) for host in (PI41, PI51)}
    assert [seen[host].get("ports") for host in seen] == [[f"{PI41}:3000:3000"], None]
    welcome = [seen[host]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] for host in seen]
    assert welcome == ["false", "true"]


@every_node
def test_provisioning_shows_the_password_to_no_command_line(inventory, host):
    script = render.render_role("grafana", inventory=inventory, host=host)[f"{HOME}bin/provision"]
    assert "--password-from-stdin" in script
    assert "--header @-" in script


def test_who_may_log_in_may_do_so_through_nginx():
    nodes = deepcopy(render.cluster("production"))
    [services] = [node["services"] for node in nodes if node["host"] == PI51]
    del services["grafana"]["ingress"]["login"]
    shown = render.render_role("nginx", host=PI51, overrides={"cluster_nodes": nodes})[LOCATIONS]
    assert "Authorization" not in shown
    assert "/grafana/login" not in shown
