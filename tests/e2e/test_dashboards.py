"""Every query of every dashboard, asked as a visitor's browser asks: nginx, Grafana, Prometheus."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import dashboards
import http_client
import pytest
import site_under_test as site
from load import QUESTION

pytestmark = pytest.mark.looks
# A rate needs two scrapes with a request between them.
ANSWERED_WITHIN_S = 240
PAUSE_S = 3
SENSORS = (
    'node_thermal_zone_temp{node="$node", type!~"PMIC.*"} or node_hwmon_temp_celsius{node="$node"} '
    'unless on (instance, chip) node_hwmon_chip_names{chip_name=~"pmic.*"} '
    'or jetson_temperature_celsius{node="$node"}'
)
# A node without containers has none of their figures, nor has one whose kernel does not count memory.
CONTAINERS = 'aicluster_container_restarts_total{node="$node"}'
MEMORY = 'aicluster_container_memory_bytes{node="$node"}'
BACKUP, CHECK = "backup_last_success_timestamp_seconds", "backup_repository_check_timestamp_seconds"
DRILL = "backup_last_restore_drill_success_timestamp_seconds"
# Panels that may be empty, and the series without which they are: as soon as one exists, they have to answer.
EMPTY_WITHOUT = {
    ("Node", "Hottest sensor"): SENSORS,
    ("Node", "Memory of services, of what they may have"): MEMORY,
    ("Node", "Restarts by themselves"): CONTAINERS,
    ("AI requests", "GPU of the AI nodes"): "jetson_gpu_load_ratio",
    ("Backups", "Oldest good copy"): BACKUP,
    ("Backups", "Failed copies"): "backup_last_exit_code",
    ("Backups", "Copies"): BACKUP,
    ("Backups", "Age of the oldest copy"): BACKUP,
    ("Backups", "Duration of a backup"): BACKUP,
    ("Backups", "Oldest check of a repository"): CHECK,
    ("Backups", "Room in the stores"): "backup_store_free_bytes",
    ("Backups", "Repositories"): CHECK,
    ("Backups", "Size of the repositories"): "backup_repository_bytes",
    ("Backups", "Last restore drill"): DRILL,
    ("Backups", "Restores"): DRILL,
    ("Backups", "Time to restore"): DRILL,
}
Ask = Callable[[str], list[Any]]
Grafana = Callable[[str], Any]


def root_path() -> str:
    """Path of Grafana behind the gateway's nginx."""
    return str(site.running("kong")[0].services["grafana"]["dashboard"]["path"])


@pytest.fixture(scope="module")
def grafana(gateway_url) -> Grafana:
    """Path below the API -> what the Grafana on the gateway answers a visitor."""
    root = root_path()

    def get(path: str) -> Any:
        answer = http_client.get(f"{gateway_url}{root}api/{path}")
        assert answer.status == 200, f"{path}: {answer.status} {answer.body[:300]!r}"
        return answer.json()

    return get


@pytest.fixture(scope="module")
def ask(grafana) -> Ask:
    """Expression -> the series Prometheus answers."""

    def query(expr: str) -> list[Any]:
        answer = grafana(f"datasources/proxy/uid/prometheus/api/v1/query?query={quote(expr)}")
        return list(answer["data"]["result"])

    return query


@pytest.fixture(scope="module", autouse=True)
def traffic(gateway_url, api_key) -> Callable[[], None]:
    """Sends a request: an idle gateway has no rates."""

    def send() -> None:
        http_client.post(f"{gateway_url}/api/v1/chat", QUESTION, key=api_key)

    send()
    return send


def has_value(series: list[Any]) -> bool:
    """Whether anything would be seen: a number, not `NaN`."""
    return any(math.isfinite(float(each["value"][1])) for each in series)


def choices(dashboard: dashboards.Dashboard, ask: Ask) -> Iterator[dict[str, str]]:
    """Every choice a visitor has at the top of a dashboard; one without choices has one."""
    variables = dashboards.choices(dashboard)
    if "node" not in variables:
        yield dict.fromkeys(variables, ".*")
        return
    selector, label = variables["node"]
    names = {node.name for node in site.nodes()}
    # A node that left the cluster can be chosen, too, as long as its history is kept.
    assert names <= {each["metric"][label] for each in ask(selector)}, "every node can be chosen"
    for name in sorted(names):
        yield {"node": name}


def unanswered(dashboard: dashboards.Dashboard, ask: Ask) -> list[str]:
    """The queries nobody would see an answer of, each with the values that were chosen."""
    return [
        f"{query} {values}: {query.expr}"
        for values in choices(dashboard, ask)
        for query in dashboards.queries(dashboard)
        if not has_value(ask(dashboards.filled(query.expr, values))) and not may_be_empty(query, values, ask)
    ]


def may_be_empty(query: dashboards.Query, values: dict[str, str], ask: Ask) -> bool:
    """Whether what the panel shows does not exist yet, or not on this node."""
    series = EMPTY_WITHOUT.get((query.dashboard, query.panel))
    return series is not None and not ask(dashboards.filled(series, values))


def test_a_visitor_with_the_password_is_a_visitor(gateway_url, secrets):
    root = f"{gateway_url}{root_path()}"
    password = secrets["grafana_admin_password"]
    assert http_client.post(f"{root}login", {"user": "admin", "password": password}).status == 403
    assert http_client.get(f"{root}api/user", login=f"admin:{password}").status == 401
    assert http_client.get(f"{root}api/datasources", login=f"admin:{password}").status == 403


@pytest.mark.parametrize("name", ["overview", "node", "ai", "backups"])
def test_every_query_of_a_dashboard_is_answered(name, grafana, ask, traffic, record_property):
    dashboard = grafana(f"dashboards/uid/aicluster-{name}")["dashboard"]
    began = time.monotonic()
    while (left := unanswered(dashboard, ask)) and time.monotonic() - began < ANSWERED_WITHIN_S:
        record_property("waited for", left)
        traffic()
        time.sleep(PAUSE_S)
    record_property("queries", len(list(dashboards.queries(dashboard))))
    assert left == []
