"""What a Prometheus asks, derived from what is placed where: metrics, probes of pages, pings of nodes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import SiteError
from ..site.addresses import listens_on, scheme_of
from ..site.nodes import profiles_of
from .grafana import placed_with

Node = Mapping[str, Any]
Job = dict[str, Any]

PROBER, PROBER_PORT = "blackbox_exporter", "web"
# What the small Prometheus looks at: is everybody there, and is the big one.
WATCHED = ("node_exporter", "prometheus")
# The ingress of the cluster: nginx, on the node where Kong is behind it.
INGRESS, BEHIND_IT = "nginx", "kong"
# Of a page that is there with TLS as well, the port.
TLS_PORT = "https"
# Of a node the small Prometheus wants to know whether it answers, and how old the backups are.
WATCH_COLLECTORS = ("textfile",)
WATCH_KEEPS = "backup_.*"


def reach(node: Node, service: str, port_name: str, asker: Node) -> str:
    """Return the address:port under which `asker` reaches a port of a service on `node`.

    A published port is asked at the node's address, on the same node, too: measured is what others see. One
    that is not published is asked by the name of its container. Raises SiteError where neither is
    possible.
    """
    entry = node["services"][service]
    port = entry["ports"][port_name]
    if listens_on(port, node["address"]) == node["address"]:
        return f"{node['address']}:{port['port']}"
    if node["host"] == asker["host"] and entry.get("image"):
        return f"{service}:{port.get('container', port['port'])}"
    raise SiteError(
        f"scrape_jobs: from of port {port_name} of {service} on {node['name']} "
        f"{list(port.get('from') or [])}: must let {asker['tier']} in, where "
        f"{asker['name']} asks; add it in service_catalogue"
    )


def labels_of(node: Node, service: str | None = None) -> dict[str, str]:
    """Return the labels of every target of a node; `profile` where the service only runs in some."""
    labels = {"node": str(node["name"]), "tier": str(node["tier"])}
    if service is not None:
        labels["service"] = service
        active = profiles_of(service, node)
        if active and len(active) < len(node["profiles"]):
            labels["profile"] = ",".join(active)
    return labels


def metrics_job(service: str, nodes: Sequence[Node], asker: Node) -> Job:
    """Return the job of a service, from the nodes that have its page; of that only the port may differ."""
    pages = [node["services"][service]["metrics"] for node in nodes]
    job: Job = {"job_name": service, "metrics_path": pages[0]["path"]}
    if nodes[0]["services"][service]["ports"][pages[0]["port"]].get("tls"):
        job |= {"scheme": "https", "tls_config": {"ca_file": "ca.crt"}}
    if "interval_s" in pages[0]:
        job["scrape_interval"] = f"{pages[0]['interval_s']}s"
    if "token" in pages[0]:
        job["token"] = pages[0]["token"]
    targets = [
        {"targets": [reach(node, service, page["port"], asker)], "labels": labels_of(node, service)}
        for node, page in zip(nodes, pages, strict=True)
    ]
    return {**job, "static_configs": targets}


def probe_job(name: str, module: str, prober: str, targets: list[dict[str, Any]]) -> Job:
    """Return the job that has the blackbox exporter at `prober` (address:port) ask the targets."""
    return {
        "job_name": name,
        "metrics_path": "/probe",
        "params": {"module": [module]},
        "static_configs": targets,
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": prober},
        ],
    }


def probe_jobs(nodes: Sequence[Node], asker: Node, scope: str) -> list[Job]:
    """Return the jobs of the first blackbox exporter: the pages of services, and a ping of every node.

    The pages are asked from the exporter's node, so a port that is not published is asked by name there.
    """
    prober = next((node for node in nodes if PROBER in node["services"]), None)
    if prober is None:
        return []
    pages = []
    for node in nodes:
        for service, entry in node["services"].items():
            is_ingress = service == INGRESS and BEHIND_IT in node["services"]
            page = entry.get("probe")
            if page and (is_ingress or scope == "all"):
                ports = [page["port"]]
                if entry["ports"].get(TLS_PORT, {}).get("from"):
                    ports.append(TLS_PORT)
                for port in ports:
                    scheme = scheme_of(entry["ports"][port])
                    url = f"{scheme}://{reach(node, service, port, prober)}{page['path']}"
                    pages.append({"targets": [url], "labels": labels_of(node, service)})
    address = reach(prober, PROBER, PROBER_PORT, asker)
    pings = [{"targets": [str(node["address"])], "labels": labels_of(node)} for node in nodes]
    jobs = [probe_job("probe", "http_2xx", address, pages)] if pages else []
    return [*jobs, probe_job("ping", "icmp", address, pings)]


def for_the_watch(job: Job) -> Job:
    """Return the job as the small Prometheus runs it: at its own pace, and of a node only what it needs."""
    slim = {key: value for key, value in job.items() if key != "scrape_interval"}
    if job["job_name"] == "node_exporter":
        slim["params"] = {"collect[]": list(WATCH_COLLECTORS)}
        slim["metric_relabel_configs"] = [
            {"source_labels": ["__name__"], "regex": WATCH_KEEPS, "action": "keep"}
        ]
    return slim


def scrape_jobs(nodes: Iterable[Node], host: str, scope: str = "all") -> list[Job]:
    """Return the scrape configurations of the Prometheus on `host` (inventory key), as its file wants them.

    One job per service with `metrics` (its name is the job's), then `probe` (the pages services name) and
    `ping` (every node). Every target has the labels node, tier and service, and `profile` if it only runs in
    some. Where the page asks for a token, the job has the key `token` with the secret's name, which is not
    Prometheus' own: the template that may read secrets puts the secret in its place.
    `scope`: `all`, or `watch` for whether the nodes, Prometheus and the ingress are there.
    Raises SiteError for ports that cannot be reached.
    """
    cluster = list(nodes)
    asker = next(node for node in cluster if node["host"] == host)
    jobs = [
        metrics_job(service, having, asker)
        for service, having in placed_with(cluster, "metrics")
        if scope == "all" or service in WATCHED
    ]
    if scope == "watch":
        jobs = [for_the_watch(job) for job in jobs]
    return [*jobs, *probe_jobs(cluster, asker, scope)]
