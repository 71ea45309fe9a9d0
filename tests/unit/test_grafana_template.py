"""What the role `grafana` puts on its nodes: the operators' Grafana, and the one behind nginx for looking."""

from copy import deepcopy

import render

HOME = "/opt/aicluster/grafana/"
PI51, PI41 = "192.168.1.147", "192.168.1.204"
LOCATIONS = "/opt/aicluster/nginx/conf/locations/ingress.conf"


def test_visitors_may_look_at_the_gateway_s_alone_and_only_through_nginx():
    seen = {host: render.container("grafana", host=host) for host in (PI41, PI51)}
    assert [seen[host].get("ports") for host in seen] == [[f"{PI41}:3000:3000"], None]
    welcome = [seen[host]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] for host in seen]
    assert welcome == ["false", "true"]


def test_provisioning_shows_the_password_to_no_command_line():
    script = render.render_role("grafana")[f"{HOME}bin/provision"]
    assert "--password-from-stdin" in script
    assert "--header @-" in script


def test_who_may_log_in_may_do_so_through_nginx():
    nodes = deepcopy(render.cluster("production"))
    [services] = [node["services"] for node in nodes if node["host"] == PI51]
    del services["grafana"]["ingress"]["login"]
    shown = render.render_role("nginx", host=PI51, overrides={"cluster_nodes": nodes})[LOCATIONS]
    assert "Authorization" not in shown
    assert "/grafana/login" not in shown
