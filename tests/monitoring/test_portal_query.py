"""The one question of the portal page, answered by Prometheus' own engine."""

import monitoring
import pytest
from tree import load

QUERY = load("roles/nginx/vars/main.yml")["__nginx_health_query"]
AT = 'job="node_exporter", node="PI52", service="node_exporter"'
HEALTHY = f'aicluster_service_state{{{AT}, name="redis", state="healthy"}}'
GONE = f"up{{{AT}}}"


SEEN = {"up": 1, "state": 1, "now": 1000, "seen": 970, "ping": 1}


@pytest.mark.parametrize(("expected", "series"), [
    pytest.param([HEALTHY], SEEN, id="a state just seen"),
    pytest.param([], SEEN | {"seen": 870}, id="an old state is none"),
    pytest.param([], {"up": 1, "state": 1, "now": 1000}, id="a state of unknown age is none"),
    pytest.param([GONE], {"up": 0, "ping": 0}, id="a node without an answer to a ping is gone"),
    pytest.param([GONE], {"up": 0}, id="as is one that nobody can ping"),
])  # fmt: skip
def test_the_portal_shows_what_is_known_now(tmp_path, expected, series):
    known = {
        HEALTHY: series.get("state"),
        f'aicluster_service_state{{{AT}, name="redis", state="failed"}}': 0,
        f"node_time_seconds{{{AT}}}": series.get("now"),
        f"aicluster_containers_seen_timestamp_seconds{{{AT}}}": series.get("seen"),
        GONE: series["up"],
        'probe_success{job="ping", node="PI52"}': series.get("ping"),
    }
    there = {name: value for name, value in known.items() if value is not None}
    monitoring.answers(QUERY, there, {labels: float(labels == HEALTHY) for labels in expected}, tmp_path)
