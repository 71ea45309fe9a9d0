"""Dashboards have units Grafana knows and links that lead to one; who may look at them."""

import render

PI51, PI41 = "192.168.1.147", "192.168.1.204"


def test_visitors_may_look_at_the_gateway_s_alone_and_only_through_nginx():
    seen = {host: render.container("grafana", host=host) for host in (PI41, PI51)}
    assert [seen[host].get("ports") for host in seen] == [[f"{PI41}:3000:3000"], None]
    welcome = [seen[host]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] for host in seen]
    assert welcome == ["false", "true"]
