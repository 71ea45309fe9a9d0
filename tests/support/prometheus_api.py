"""Questions to a Prometheus of the site."""

from typing import Any
from urllib.parse import quote

import http_client
import site_under_test as site


def ask(prometheus: site.Node, expr: str) -> list[Any]:
    port = prometheus.port("prometheus", "web")
    answer = http_client.get(f"http://{prometheus.address}:{port}/api/v1/query?query={quote(expr)}")
    assert answer.status == 200, answer.body
    return list(answer.json()["data"]["result"])
