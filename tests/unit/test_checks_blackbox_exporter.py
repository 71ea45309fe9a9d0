"""The check of the blackbox exporter: does it ask the front door, and what did it get."""

import http.server
import urllib.parse
from typing import Any

import pytest
from aicluster_verify import Broken, Kit
from by_path import import_file
from listening import Listening

check = import_file(
    "roles/blackbox_exporter/templates/opt/aicluster/checks/blackbox_exporter.py", "check_blackbox"
)
ANSWER = """# HELP probe_duration_seconds how long
probe_duration_seconds {seconds}
probe_http_duration_seconds{{phase="connect"}} 0.5
probe_http_status_code {status}
probe_success {success}
"""


class Exporter(http.server.BaseHTTPRequestHandler):
    http_2xx = (1, 200)
    icmp = (1, 0)
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        words = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
        type(self).asked.append(words)
        success, status = getattr(self, words.get("module", "http_2xx"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ANSWER.format(seconds=0.012, status=status, success=success).encode())

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def exporter():
    handler = type("Handler", (Exporter,), {"asked": []})
    nodes = [
        {
            "name": "PI51",
            "address": "10.0.0.1",
            "services": {"nginx": {"ports": {"http": 8080}}, "kong": {"ports": {}}},
        },
        {"name": "ORIN0", "address": "10.0.0.3", "services": {"nginx": {"ports": {"http": 80}}}},
    ]
    with Listening(handler) as server:
        port = {"port": server.server_port, "published": "127.0.0.1"}
        services = {"blackbox_exporter": {"ports": {"web": port}}}
        yield handler, Kit({"node": "PI41", "services": services, "cluster": nodes}, "run-1")


def test_the_front_door_is_asked_and_a_node_is_pinged(exporter):
    handler, kit = exporter
    assert check.check(kit) == "the front door answered 200 in 12 ms; nodes can be pinged"
    assert handler.asked == [
        {"module": "http_2xx", "target": "http://10.0.0.1:8080/healthz"},
        {"module": "icmp", "target": "10.0.0.1"},
    ], "of two nginx the one before Kong"


@pytest.mark.parametrize(
    ("status", "evidence"),
    [
        pytest.param(503, "the front door http://10.0.0.1:8080/healthz answered 503", id="it is ill"),
        pytest.param(0, "the front door http://10.0.0.1:8080/healthz gave no answer", id="it is closed"),
    ],
)
def test_a_front_door_that_is_not_open_is_broken(exporter, status, evidence):
    handler, kit = exporter
    handler.http_2xx = (0, status)
    with pytest.raises(Broken, match=evidence) as broken:
        check.check(kit)
    assert broken.value.next_command == "curl -v 'http://10.0.0.1:8080/healthz'"
    assert broken.value.because == ["nginx on PI51", "kong on PI51"]


def test_without_pings_it_says_what_that_means(exporter):
    handler, kit = exporter
    handler.icmp = (0, 0)
    assert check.check(kit).endswith("no ping comes back, so NodeDown goes by node_exporter alone")


def test_a_cluster_without_a_front_door_leaves_the_exporter_itself_to_ask(exporter):
    _, kit = exporter
    kit.cluster = []
    assert "no front door" in check.check(kit)


def test_an_exporter_that_is_away_is_broken(exporter):
    _, kit = exporter
    kit.services["blackbox_exporter"]["ports"]["web"]["port"] = 1
    with pytest.raises(Broken, match="refused"):
        check.check(kit)
