"""Filters of the site: its nodes, who reaches which port, databases, buckets and pages."""

from collections.abc import Sequence
from typing import Any

import pytest
from tables import cases

from aicluster.errors import SiteError
from aicluster.site.addresses import audience_networks
from aicluster.site.data import bucket_users, database_roles
from aicluster.site.ingress import ingress_pages, service_page
from aicluster.site.nodes import cluster_nodes
from aicluster.site.relations import address_problems

CATALOGUE = {
    "ollama": {"memory_mb": 4096, "ports": {"api": {"port": 11434, "container": 11434, "from": ["gateway"]}}},
    "redis": {"memory_mb": 256, "ports": {"redis": {"port": 6379, "from": []}}},
}


def host(address: str, **variables: Any) -> dict[str, Any]:
    return {"inventory_hostname": address, "group_names": ["nodes"], **variables}


def test_an_override_on_one_node_leaves_the_catalogue_and_the_other_nodes_alone():
    override = {"ollama": {"memory_mb": 8192, "ports": {"api": {"port": 11435}}}}
    hosts = [host("10.0.0.1", node_services=[override]), host("10.0.0.2", node_services=["ollama"])]
    first, second = (node["services"]["ollama"] for node in cluster_nodes(hosts, CATALOGUE))
    assert first["ports"]["api"] == {"port": 11435, "container": 11434, "from": ["gateway"]}
    assert first["memory_mb"] == 8192
    assert second == CATALOGUE["ollama"]


def test_a_pin_beats_all_other_images_of_its_service_on_its_host_alone():
    hosts = [
        host(name, node_services=[{"ollama": {"image": "ollama:2"}}]) for name in ("10.0.0.1", "10.0.0.2")
    ]
    pins = [{"host": "10.0.0.1", "service": "ollama", "image": "ollama:1"}]
    first, second = (node["services"]["ollama"] for node in cluster_nodes(hosts, CATALOGUE, pins))
    assert (first["image"], first["pinned_from"], second["image"]) == ("ollama:1", "ollama:2", "ollama:2")


@cases(("variables", "port"), {
    "nothing said": ({}, 22),
    "ansible_port": ({"ansible_port": 2222}, 2222),
    "what Ansible prefers": ({"ansible_port": 2222, "ansible_ssh_port": 2022}, 2022),
})  # fmt: skip
def test_a_node_has_the_ssh_port_of_its_inventory(variables, port):
    [node] = cluster_nodes([host("10.0.0.1", **variables)], CATALOGUE)
    assert node["ssh_port"] == port


# (tier, share of its own) of each node; primary_ai gets 80 together, edge nothing.
@cases(("nodes", "parts"), {
    "one node gets it all": ([("primary_ai", None)], [80]),
    "three get parts that add up exactly": ([("primary_ai", None)] * 3, [26.6668, 26.6666, 26.6666]),
    "a tier without a share gives none": ([("primary_ai", None), ("edge", None)], [80, None]),
    "a share of its own comes first": ([("primary_ai", 30), ("primary_ai", None)], [30, 80]),
})  # fmt: skip
def test_the_nodes_of_a_tier_share_what_the_tier_gets(nodes, parts):
    together = {"primary_ai": 80, "edge": None}
    hosts = [
        host("10.0.0.1", group_names=[tier], node_ai_share=share, node_ai_tier_share=together[tier])
        for tier, share in nodes
    ]
    assert [node["share"] for node in cluster_nodes(hosts, CATALOGUE)] == parts


def test_every_network_is_there_once_under_its_first_name():
    nodes = [{"name": "GATE", "tier": "gateway", "address": "10.0.0.2"}]
    operators = ["10.0.0.0/24", "10.0.0.2"]
    found = audience_networks(["gateway", "lan", "operators", "internet"], nodes, "10.0.0.0/24", operators)
    assert found == [
        {"audience": "gateway", "node": "GATE", "network": "10.0.0.2/32"},
        {"audience": "lan", "node": None, "network": "10.0.0.0/24"},
        {"audience": "internet", "node": None, "network": "0.0.0.0/0"},
    ]


def nodes(*services: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"N{number}", "services": placed} for number, placed in enumerate(services)]


def test_a_service_on_two_nodes_has_one_user_for_all_its_buckets():
    site = nodes(
        {"web": {"buckets": ["pages"]}, "art": {"buckets": ["images"]}},
        {"web": {"buckets": ["images", "pages"]}},
    )
    assert bucket_users(site) == {"art": ["images"], "web": ["images", "pages"]}
    assert list(bucket_users(site)) == ["art", "web"]


@pytest.mark.parametrize(("asked", "kind", "names", "message"), [
    pytest.param(database_roles, "databases", ["Web", "web-1", "1web", "", "a" * 64, "web; drop", 7],
        r"databases of service web on N0 .*must be 1 to 63", id="a database that would have to be quoted"),
    pytest.param(database_roles, "databases", ["postgres", "template1", "monitor", "pg_stat"],
        "choose another name", id="a database with a name that is taken"),
    pytest.param(bucket_users, "buckets", ["Images", "a", "-images", "images-", "my_images", "a.b", "a" * 64],
        r"buckets of service web on N0 .*must be 3 to 63", id="a bucket that S3 would refuse"),
])  # fmt: skip
def test_a_name_is_refused(asked, kind, names, message):
    exporter = {"database_roles": {"monitor": {"secret": "monitor_password"}}}
    for name in names:
        with pytest.raises(SiteError, match=message):
            asked(nodes({"web": {kind: [name]}, "exporter": exporter}))


def page(path: str, /, **ingress: Any) -> dict[str, Any]:
    dashboard = {"port": "web", "path": path, "title": "Web"}
    ports = {"web": {"port": 8080, "container": 80, "from": []}}
    return {"ports": ports, "dashboard": dashboard, "ingress": {"at": "node", **ingress}}


def paths(**services: dict[str, Any]) -> list[str]:
    found = ingress_pages(member("N", "backend", **services))
    return [one["path"] for one in found]


def member(name: str, tier: str, **services: Any) -> dict[str, Any]:
    known = {"name": name, "host": name, "address": f"at-{name}", "tier": tier, "profiles": {}}
    return {**known, "services": services}


def served(here: str, *places: tuple[str, str, str]) -> list[dict[str, Any]]:
    """What `here` serves of nodes (name, tier, path before the page `web`), of which GATE has Kong."""
    cluster = [
        member(
            name, tier, web=page("/ui/", at="gateway", path=path), **({"kong": {}} if name == "GATE" else {})
        )
        for name, tier, path in places
    ]
    return ingress_pages(next(node for node in cluster if node["name"] == here), cluster)


GATE, NODE, WATCH = ("GATE", "gateway", "/w/"), ("NODE", "backend", "/w/"), ("WATCH", "monitoring", "/w/")


@cases(("here", "places", "expected"), {
    "its own page, by the container's name": ("GATE", [GATE, NODE], ("GATE", "web", 80)),
    "that of another node, at its address and port": (
        "GATE", [(*GATE[:2], "/"), NODE], ("NODE", "at-NODE", 8080)),
    "of two nodes not that which watches": (
        "GATE", [(*GATE[:2], "/"), WATCH, NODE], ("NODE", "at-NODE", 8080)),
    "nothing of others beside no Kong": ("NODE", [GATE, NODE], None),
})  # fmt: skip
def test_a_gateway_serves(here, places, expected):
    found = [(page["node"], page["address"], page["port"]) for page in served(here, *places)]
    assert found == ([expected] if expected else [])


def test_a_path_of_the_gateways_is_put_before_that_of_the_page_and_removed_again():
    [found] = served("GATE", GATE)
    assert (found["path"], found["opens"], found["strip"]) == ("/w/", "/w/ui/", True)


def front(http: list[str], https: Sequence[str] = ()) -> dict[str, Any]:
    return {"ports": {"http": {"port": 80, "from": http}, "https": {"port": 443, "from": https, "tls": True}}}


def pages_of(nginx: dict[str, Any], audience: list[str], **ingress: Any) -> dict[str, Any]:
    """How people open the page of a node: a gateway with this nginx is beside it."""
    web = page("/", **ingress)
    web["ports"]["web"]["from"] = audience
    cluster = [member("GATE", "gateway", kong={}, nginx=nginx), member("NODE", "backend", web=web)]
    return service_page(cluster, "web", "NODE")


AT_THE_GATEWAY = {"at": "gateway", "login": "admin", "path": "/w/"}


@cases(("nginx", "audience", "ingress", "expected"), {
    "at the gateway, with TLS where it has that": (
        front(["lan"], ["lan"]), [], AT_THE_GATEWAY, ("https://at-GATE:443/w/", "GATE", "admin")),
    "without TLS where it has none": (
        front(["lan"]), ["operators"], AT_THE_GATEWAY, ("http://at-GATE:80/w/", "GATE", "admin")),
    "nowhere where both are for nodes": (front(["monitoring"]), ["gateway"], AT_THE_GATEWAY, None),
})  # fmt: skip
def test_people_open_a_page(nginx, audience, ingress, expected):
    found = pages_of(nginx, audience, **ingress)
    assert (tuple(found[key] for key in ("url", "front", "login")) if found else None) == expected


@cases(("services", "expected"), {
    "the page of a service": ({"web": page("/web/")}, ["/web/"]),
    "beside Kong no page for other nodes": ({"web": page("/web/"), "kong": {}}, []),
    "on other nodes none for the gateway": ({"web": page("/web/", at="gateway")}, []),
    "not a page at the root, where nginx has its own": ({"web": page("/")}, []),
    "none that does not ask for it": ({"web": page("/web/") | {"ingress": None}}, []),
})  # fmt: skip
def test_nginx_serves(services, expected):
    assert paths(**services) == expected


@cases(("services", "message"), {
    "a path that is no folder": ({"web": page("/web")}, "path '/web' of the page .*: must end with /"),
    "a path that nginx has itself": ({"web": page("/", path="/api/web/")},
        "path '/api/web/' of the page .*: must not be in a folder of nginx itself, which are .*/healthz/"),
    "two pages at one path": ({"art": page("/web/"), "web": page("/", path="/web/")},
        "path '/web/' of the page of service web on N: must be its own, and art has it, too; change it"),
})  # fmt: skip
def test_a_mistake_is_named_with_its_rule_and_its_fix(services, message):
    with pytest.raises(SiteError, match=message):
        paths(**services)


def in_network(network: str) -> dict[str, Any]:
    return {"image": "an/image:1", "ingress": {"at": "node", "network": network}}


@cases(("services", "message"), {
    "two networks": ({"jupyterhub": in_network("jupyterhub"), "comfyui": in_network("comfy")},
        "network comfy of service comfyui on N: must share neither addresses nor 11 first letters"),
    "two networks of one bridge": ({"a": in_network("laboratory-one"), "b": in_network("laboratory-two")},
        "network laboratory-two of service b on N: must share neither addresses nor "),
    "two containers of a network": ({"alertmanager": in_network("x"), "model_mirror": in_network("x")},
        "address 172.16.131.100 of service model_mirror on N: must be its own, and alertmanager has it"),
})  # fmt: skip
def test_names_from_which_the_same_addresses_follow_are_refused(services, message):
    [problem] = address_problems(member("N", "backend", **services) | {"container_network": "172.16.0.0/16"})
    assert problem.startswith(message)
