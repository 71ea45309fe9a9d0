"""The check of Alertmanager: a test alert is posted, and seen to arrive. Its listener is the real one."""

import http.server
import json
import socket
import threading
import urllib.request
from typing import Any

import pytest
from a_kit import check_of, failure_of
from aicluster_verify import Kit
from listening import Listening

check = check_of("alertmanager")
OTHERS = [{"labels": {"run_id": "another"}}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Alertmanager(http.server.BaseHTTPRequestHandler):
    """Takes alerts, and tells of those that have not ended: the part of the real one the check relies on."""

    delivers_ours = True
    original = "receivers: []"
    taken: list[Any]

    def do_GET(self) -> None:
        self.answer({"config": {"original": self.original}})

    def do_POST(self) -> None:
        alerts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).taken.append(alerts)
        self.answer({})
        if len(type(self).taken) == 1:
            threading.Thread(target=self.tell, args=(alerts,)).start()

    def tell(self, alerts: Any) -> None:
        for told in [OTHERS, alerts][: 1 + self.delivers_ours]:
            body = json.dumps({"receiver": "verify", "alerts": told}, separators=(",", ":")).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{check.PORT}/", data=body, timeout=5).close()

    def answer(self, body: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def manager(monkeypatch):
    handler = type("Handler", (Alertmanager,), {"taken": []})
    monkeypatch.setattr(check, "PORT", free_port())
    monkeypatch.setattr(check, "into_the_container", lambda _kit: [])
    with Listening(handler) as server:
        port = {"port": server.server_port, "published": "127.0.0.1"}
        site = {"node": "PI41", "services": {"alertmanager": {"ports": {"web": port}}}, "cluster": []}
        yield handler, Kit(site, "run-1")


def test_a_test_alert_is_delivered_and_taken_back(manager):
    handler, kit = manager
    assert check.check(kit)[0].startswith("a test alert was delivered in ")
    fired, ended = (alerts[0] for alerts in handler.taken)
    assert fired["labels"]["severity"] == "test"
    assert fired["labels"]["node"] == "PI41"
    assert fired["labels"]["run_id"].startswith("run-1-")
    assert fired["labels"] == ended["labels"]
    assert ended["endsAt"] < fired["endsAt"]


def test_an_alert_that_is_not_delivered_is_a_failure_although_another_run_s_was(manager, monkeypatch):
    handler, kit = manager
    handler.delivers_ours = False
    monkeypatch.setattr(check, "DELIVERY_S", 1)
    assert "accepted, but not delivered within 1 s: nothing came" in failure_of(check.check, kit).evidence
    assert len(handler.taken) == 2, "taken back all the same"


def test_another_verify_that_listens_at_the_moment_is_waited_for(manager):
    _, kit = manager
    other = http.server.HTTPServer(("127.0.0.1", check.PORT), http.server.BaseHTTPRequestHandler)
    threading.Timer(0.5, other.server_close).start()
    assert check.check(kit)[0].startswith("a test alert was delivered in ")


def test_receivers_that_tell_nobody_are_a_warning(manager):
    handler, kit = manager
    handler.original = "url_file: /etc/alertmanager/secrets/page_url"
    _, warning = check.check(kit)
    unset = "alertmanager_default_url, alertmanager_deadman_url"
    assert warning == f"no URL in {unset}: their alerts are told to nobody"
