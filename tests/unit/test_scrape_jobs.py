"""scrape_jobs: what a Prometheus asks follows from what is placed where."""

import re
from typing import Any

import pytest
import render
from tree import load

from aicluster.monitoring.scrape_jobs import labels_of, reach, scrape_jobs

GATEWAY, MONITORING = "10.0.0.1", "10.0.0.4"
EVERYBODY = ["gateway", "monitoring"]
METRIC = re.compile(r"\b\w+_(?:seconds|bytes|code)\b")


def port(number: int, audience: list[str], container: int | None = None) -> dict[str, Any]:
    return {"port": number, "container": container or number, "from": audience}


def service(ports: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"image": "x:1", "ports": ports, "metrics": None, **keys}


def exporter(number: int) -> dict[str, Any]:
    return service({"web": port(number, EVERYBODY)}, metrics={"port": "web", "path": "/metrics"})


NATIVE = {**exporter(9100), "image": None}
PAGE = service({"http": port(80, ["lan"])}, probe={"port": "http", "path": "/healthz"})


def node(name: str, address: str, tier: str, **services: Any) -> dict[str, Any]:
    where = {"name": name, "host": address, "address": address, "tier": tier}
    return {**where, "profiles": {}, "services": services}


def cluster() -> list[dict[str, Any]]:
    gateway = {"nginx": PAGE, "kong": exporter(8100), "prometheus": exporter(9090)}
    monitoring = {"prometheus": exporter(9090), "blackbox_exporter": exporter(9115)}
    return [
        node("PI51", GATEWAY, "gateway", node_exporter=NATIVE, **gateway),
        node("ORIN0", "10.0.0.3", "secondary_ai", node_exporter=NATIVE, nginx=PAGE, build=exporter(9000)),
        node("PI41", MONITORING, "monitoring", node_exporter=NATIVE, **monitoring),
    ]


def by_name(nodes: list[dict[str, Any]], host: str = GATEWAY, scope: str = "all") -> dict[str, Any]:
    jobs = scrape_jobs(nodes, host, scope)
    assert len({job["job_name"] for job in jobs}) == len(jobs), "Prometheus refuses a name that comes twice"
    return {job["job_name"]: job for job in jobs}


def targets(job: dict[str, Any]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


@pytest.mark.parametrize(("audience", "image", "same_node", "expected"), [
    pytest.param(["gateway"], "x:1", False, "10.0.0.9:81", id="published, from another node"),
    pytest.param(["gateway"], "x:1", True, "10.0.0.9:81", id="published, on the same node, too"),
    pytest.param([], "x:1", True, "web:80", id="published to nobody: by the name of the container"),
    pytest.param(["localhost"], "x:1", True, "web:80", id="on loopback only: by the name of the container"),
])  # fmt: skip
def test_a_port_is_asked_where_it_is(audience, image, same_node, expected):
    one = node("N", "10.0.0.9", "edge", web={**service({"http": port(81, audience, 80)}), "image": image})
    asker = one if same_node else node("PI51", GATEWAY, "gateway")
    assert reach(one, "web", "http", asker) == expected


@pytest.mark.parametrize(("profiles", "label"), [
    pytest.param({}, None, id="a node without profiles"),
    pytest.param({"a": ["kong"], "b": []}, None, id="a service of no profile always runs"),
    pytest.param({"a": ["build"], "b": []}, "a", id="a service of one profile"),
    pytest.param({"a": ["build"], "b": ["build"], "c": []}, "a,b", id="a service of two profiles"),
    pytest.param({"a": ["build"], "b": ["build"]}, None, id="a service of all profiles always runs"),
])  # fmt: skip
def test_a_target_that_does_not_always_run_says_so(profiles, label):
    one = {**cluster()[1], "profiles": profiles}
    assert labels_of(one, "build").get("profile") == label


def test_the_watch_looks_at_nodes_prometheus_and_the_ingress_at_its_own_pace():
    nodes = cluster()
    for one in (nodes[0], nodes[2]):
        one["services"]["prometheus"]["metrics"]["interval_s"] = 15
    jobs = by_name(nodes, MONITORING, "watch")
    assert list(jobs) == ["node_exporter", "prometheus", "probe", "ping"]
    assert targets(jobs["prometheus"]) == ["10.0.0.1:9090", "10.0.0.4:9090"]
    assert targets(jobs["probe"]) == ["http://10.0.0.1:80/healthz"], "of two nginx the one before Kong"
    assert "scrape_interval" not in jobs["prometheus"]


def test_the_watch_keeps_of_a_node_what_rules_about_backups_read():
    job = by_name(cluster(), MONITORING, "watch")["node_exporter"]
    assert job["params"] == {"collect[]": ["textfile"]}
    [rule] = job["metric_relabel_configs"]
    assert (rule["source_labels"], rule["action"]) == (["__name__"], "keep")
    rules = load("roles/prometheus/templates/opt/aicluster/prometheus/rules/backup.yml")["groups"]
    read = {name for group in rules for one in group["rules"] for name in METRIC.findall(one["expr"])}
    assert read and all(re.fullmatch(rule["regex"], name) for name in read)


@pytest.mark.parametrize("inventory", sorted(render.SOURCES))
def test_every_metrics_page_of_the_real_site_is_a_target(inventory):
    nodes = render.cluster(inventory)
    [gateway] = [node["host"] for node in nodes if node["tier"] == "gateway"]
    jobs = [job for name, job in by_name(nodes, gateway).items() if name not in ("probe", "ping")]
    labels = [target["labels"] for job in jobs for target in job["static_configs"]]
    assert {(label["node"], label["service"]) for label in labels} == {
        (one["name"], name) for one in nodes for name, entry in one["services"].items() if entry["metrics"]
    }
