"""scrape_jobs: what a Prometheus asks follows from what is placed where."""

import re
from copy import deepcopy
from typing import Any

import pytest
import render
from tree import load

from aicluster.monitoring.scrape_jobs import labels_of, reach, scrape_jobs
from aicluster.site.nodes import nodes_running

GATEWAY, MONITORING = "192.168.1.147", "192.168.1.204"
METRIC = re.compile(r"\b\w+_(?:seconds|bytes|code)\b")


def by_name(nodes: list[dict[str, Any]], host: str, scope: str = "all") -> dict[str, Any]:
    jobs = scrape_jobs(nodes, host, scope)
    assert len({job["job_name"] for job in jobs}) == len(jobs), "Prometheus refuses a name that comes twice"
    return {job["job_name"]: job for job in jobs}


def targets(job: dict[str, Any]) -> list[str]:
    return [target for group in job["static_configs"] for target in group["targets"]]


@pytest.mark.parametrize(("audience", "same_node", "expected"), [
    pytest.param(["gateway"], False, "10.0.0.9:81", id="published, from another node"),
    pytest.param(["gateway"], True, "10.0.0.9:81", id="published, on the same node, too"),
    pytest.param([], True, "web:80", id="published to nobody: by the name of the container"),
    pytest.param(["localhost"], True, "web:80", id="on loopback only: by the name of the container"),
])  # fmt: skip
def test_a_port_is_asked_where_it_is(audience, same_node, expected):
    web = {"image": "x:1", "ports": {"http": {"port": 81, "container": 80, "from": audience}}}
    one = {"name": "N", "host": "n", "address": "10.0.0.9", "tier": "edge", "services": {"web": web}}
    assert reach(one, "web", "http", one if same_node else {**one, "host": "other"}) == expected


@pytest.mark.parametrize(("profiles", "label"), [
    pytest.param({}, None, id="a node without profiles"),
    pytest.param({"a": ["kong"], "b": []}, None, id="a service of no profile always runs"),
    pytest.param({"a": ["ollama"], "b": []}, "a", id="a service of one profile"),
    pytest.param({"a": ["ollama"], "b": ["ollama"], "c": []}, "a,b", id="a service of two profiles"),
    pytest.param({"a": ["ollama"], "b": ["ollama"]}, None, id="a service of all profiles always runs"),
])  # fmt: skip
def test_a_target_that_does_not_always_run_says_so(profiles, label):
    one = {**render.cluster("production")[0], "profiles": profiles}
    assert labels_of(one, "ollama").get("profile") == label


def test_the_watch_looks_at_nodes_prometheus_and_the_ingress_at_its_own_pace():
    nodes = deepcopy(render.cluster("production"))
    for one in nodes_running(nodes, "prometheus"):
        one["services"]["prometheus"]["metrics"]["interval_s"] = 15
    jobs = by_name(nodes, MONITORING, "watch")
    assert list(jobs) == ["node_exporter", "prometheus", "probe", "ping"]
    assert targets(jobs["prometheus"]) == [f"{GATEWAY}:9090", f"{MONITORING}:9090"]
    of_the_gateway = [f"http://{GATEWAY}:80/healthz", f"https://{GATEWAY}:443/healthz"]
    assert targets(jobs["probe"]) == of_the_gateway, "of all nginx the one before Kong, with its certificate"
    assert "scrape_interval" not in jobs["prometheus"]


def test_the_watch_keeps_of_a_node_what_rules_about_backups_read():
    job = by_name(render.cluster("production"), MONITORING, "watch")["node_exporter"]
    assert job["params"] == {"collect[]": ["textfile"]}
    [rule] = job["metric_relabel_configs"]
    assert (rule["source_labels"], rule["action"]) == (["__name__"], "keep")
    rules = load("roles/prometheus/templates/opt/aicluster/prometheus/rules/backup.yml")["groups"]
    read = {name for group in rules for one in group["rules"] for name in METRIC.findall(one["expr"])}
    assert read and all(re.fullmatch(rule["regex"], name) for name in read)


def test_a_page_with_tls_is_asked_with_tls_and_its_certificate_is_verified():
    jobs = by_name(render.cluster("production"), GATEWAY)
    with_tls = {name: job["tls_config"] for name, job in jobs.items() if job.get("scheme") == "https"}
    assert with_tls == {"minio": {"ca_file": "ca.crt"}}
    assert "https://192.168.1.247:9000/minio/health/live" in targets(jobs["probe"])
    assert render.render_role("prometheus")["/opt/aicluster/prometheus/ca.crt"]


@pytest.mark.parametrize("inventory", sorted(render.SOURCES))
def test_every_metrics_page_of_the_real_site_is_a_target(inventory):
    nodes = render.cluster(inventory)
    [gateway] = [node["host"] for node in nodes if node["tier"] == "gateway"]
    jobs = [job for name, job in by_name(nodes, gateway).items() if name not in ("probe", "ping")]
    labels = [target["labels"] for job in jobs for target in job["static_configs"]]
    assert {(label["node"], label["service"]) for label in labels} == {
        (one["name"], name) for one in nodes for name, entry in one["services"].items() if entry["metrics"]
    }
