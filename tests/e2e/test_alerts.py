"""While everything is healthy no alert fires, and an alert that fires reaches its receiver."""

import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import site_under_test as site
from prometheus_api import ask

# Hardly a rule looks back longer than half an hour at what earlier tests have stopped.
pytestmark = pytest.mark.calm
QUIET_WITHIN_S = 35 * 60
QUIET_FOR = "2m"
# What a node of the lab says of the machine below it is no trouble of the lab's.
NO_TROUBLE = (
    "Watchdog", "LoadHigh", "MemoryShort", "ProcessKilledForMemory", "Disk.*", "Temperature.*", "Clock.*",
)  # fmt: skip
# Pending ones, too: a fresh Prometheus would be quiet until they fire.
TROUBLE = (
    f'sum by (alertname, node) (last_over_time(ALERTS{{alertname!~"{"|".join(NO_TROUBLE)}"}}[{QUIET_FOR}]))'
)
WATCHED = f'ALERTS{{alertname="Watchdog"}} offset {QUIET_FOR}'
# Each Prometheus tells its alerts once a minute, and a post is repeated after one or two more.
HEARD_WITHIN_S = 360
# Prints its port, then what it is told, until its input ends.
RECEIVER = """
import http.server, json, sys, threading

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print(json.dumps([self.path, json.loads(body)]), flush=True)

    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("", 0), Receiver)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""
ALERTMANAGER = next(iter(site.running("alertmanager")))
FILES = "find /opt/aicluster/alertmanager -type f -printf '%p %m %U ' -exec sha256sum {} ';' | sort"
# Path that was posted to -> the alerts of each post that came there.
Heard = Callable[[str], list[list[dict[str, Any]]]]


@contextmanager
def receiver(node: site.Node) -> Iterator[tuple[str, Heard]]:
    """Something that is posted to on a node: its URL, and what it heard."""
    command = [*site.as_root(node), "python3", "-c", shlex.quote(RECEIVER)]
    posts: list[tuple[str, dict[str, Any]]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        output = process.stdout
        port = int(output.readline())

        def listen() -> None:
            for line in output:
                posts.append(json.loads(line))

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            with site.opened(node, port):
                yield (
                    f"http://{node.address}:{port}",
                    lambda path: [told["alerts"] for at, told in posts if at == path],
                )
        finally:
            process.stdin.close()
            listener.join()


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """What a machine beside the monitoring node hears while the inventory names it; then all is as before."""
    before = site.shell(ALERTMANAGER, FILES)
    beside = next(node for node in site.nodes() if node != ALERTMANAGER)
    with receiver(beside) as (url, told):
        variables = {
            "alertmanager_deadman_url": f"{url}/deadman",
            "alertmanager_deadman_interval_s": 10,
            "alertmanager_page_url": f"{url}/page",
            "alertmanager_group_wait_s": 1,
        }
        layer = site.inventory_layer(tmp_path_factory.mktemp("layer"), {ALERTMANAGER: variables})
        try:
            site.run_site(*layer, "--limit", ALERTMANAGER.address).succeeded()
            yield told
        finally:
            back = site.run_site("--limit", ALERTMANAGER.address)
    back.succeeded()
    assert site.shell(ALERTMANAGER, FILES) == before


# Listening meanwhile: the dead man's switch takes minutes, too.
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("prometheus", site.running("prometheus"), ids=lambda node: node.name)
def test_while_all_is_healthy_no_alert_fires_or_is_about_to(prometheus, record_property):
    deadline = time.monotonic() + QUIET_WITHIN_S
    while (found := ask(prometheus, TROUBLE)) or not ask(prometheus, WATCHED):
        seen = [series["metric"] for series in found] or "nobody watched"
        record_property("waited for", seen)
        assert time.monotonic() < deadline, seen
        time.sleep(10)


def test_the_dead_mans_switch_hears_of_the_watchdog_again_and_again_and_of_nothing_else(heard):
    site.wait_until(lambda: len(heard("/deadman")) > 1, HEARD_WITHIN_S, "the dead man's switch was not told")
    assert {alert["labels"]["alertname"] for post in heard("/deadman") for alert in post} == {"Watchdog"}


def test_a_critical_alert_pages(heard):
    labels = {
        "alertname": "E2ETest",
        "severity": "critical",
        "node": "cluster",
        "run_id": str(time.time_ns()),
    }
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + HEARD_WITHIN_S))
    alert = {"labels": labels, "annotations": {"summary": "A test.", "next": "nothing to do"}, "endsAt": ends}
    url = f"http://{ALERTMANAGER.address}:{ALERTMANAGER.port('alertmanager', 'web')}/api/v2/alerts"
    posted = shlex.quote(json.dumps([alert]))
    # On its node: the port is open to nodes only.
    site.shell(ALERTMANAGER, f"curl -fsS --header 'Content-Type: application/json' --data {posted} {url}")
    site.wait_until(
        lambda: labels in [alert["labels"] for post in heard("/page") for alert in post],
        HEARD_WITHIN_S,
        "nobody was paged",
    )
