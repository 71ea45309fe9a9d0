"""Questions to a Prometheus of the site."""

from typing import Any
from urllib.parse import quote

import site_under_test as site


def ask(prometheus: site.Node, expr: str) -> list[Any]:
    """Ask on the node itself: its port is open to nodes only."""
    return list(data(prometheus, f"query?query={quote(expr, safe='')}")["result"])


def data(prometheus: site.Node, path: str) -> Any:
    url = f"http://{prometheus.address}:{prometheus.port('prometheus', 'web')}/api/v1/{path}"
    return site.told(prometheus, f"curl -fsS '{url}'")["data"]
