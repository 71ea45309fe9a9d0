"""Blackbox exporter: it asks the ingress of the cluster, and reports the answer."""

import re
from typing import Dict, List, Tuple
from urllib.parse import urlencode

from aicluster_verify import CheckError, Kit


def ingresses(kit: Kit) -> List[Tuple[str, str]]:
    """Return (node, URL of its health page): nginx where Kong is behind it."""
    return [
        (node["name"], "http://%s:%d/healthz" % (node["address"], node["services"]["nginx"]["ports"]["http"]))
        for node in kit.cluster
        if {"nginx", "kong"} <= set(node["services"])
    ]


def probe(kit: Kit, module: str, target: str) -> Dict[str, float]:
    """Return the metrics without labels the exporter answers when it is to ask a target."""
    words = urlencode({"module": module, "target": target})
    # Longer than the exporter itself waits.
    text = kit.expect(kit.url("blackbox_exporter", "web", "/probe?" + words), timeout=15).text
    return {name: float(value) for name, value in re.findall(r"^(probe_\w+) (\S+)$", text, re.MULTILINE)}


def told(seen: Dict[str, float]) -> str:
    """Return an answer for people."""
    status, took = seen.get("probe_http_status_code", 0), 1000 * seen.get("probe_duration_seconds", 0)
    return "answered %d in %.0f ms" % (status, took) if status else "gave no answer in %.0f ms" % took


def check(kit: Kit) -> str:
    """Return what the ingress answered, and whether nodes can be pinged."""
    found = ingresses(kit)
    if not found:
        kit.expect(kit.url("blackbox_exporter", "web", "/metrics"))
        return "answers; the cluster has no ingress to ask"
    for node, url in found:
        seen = probe(kit, "http_2xx", url)
        if seen.get("probe_success") != 1:
            raise CheckError(
                "the ingress %s %s" % (url, told(seen)),
                "curl -v '%s'" % url,
                ["nginx on " + node, "kong on " + node],
            )
    address = found[0][1].split("/")[2].split(":")[0]
    pings = probe(kit, "icmp", address).get("probe_success") == 1
    return "the ingress %s; %s" % (
        told(seen),
        "nodes can be pinged" if pings else "no ping comes back, so NodeDown depends on node_exporter alone",
    )
