"""The check of Alertmanager: a test alert is posted, and seen to arrive. Its listener is the real one."""

import json
import socket
import threading
import urllib.request
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, failure_of, site

check = check_of("alertmanager")


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr(check, "PORT", probe.getsockname()[1])
    monkeypatch.setattr(check, "into_the_container", lambda _kit: [])


def tell(alerts: Any) -> None:
    body = json.dumps({"receiver": "verify", "alerts": alerts}, separators=(",", ":")).encode()
    urllib.request.urlopen(f"http://127.0.0.1:{check.PORT}/", data=body, timeout=5).close()


def kit_of(*, delivers: bool = True, original: str = "receivers: []") -> tuple[ScriptedKit, list[Any]]:
    """An Alertmanager that tells of an alert of another run, and may of the first it takes; those it took."""
    taken: list[Any] = []

    def deliver(alerts: Any) -> None:
        tell([{"labels": {"run_id": "another"}}])
        if delivers:
            tell(alerts)

    def take(alerts: Any, _headers: Any) -> Any:
        taken.append(alerts[0])
        if len(taken) == 1:
            threading.Thread(target=deliver, args=(alerts,)).start()
        return 200, {}

    status = {"config": {"original": original}}
    answers: dict[str, Any] = {"GET /api/v2/status": (200, status), "POST /api/v2/alerts": take}
    return ScriptedKit(site("PI41", {"alertmanager": {"web": 9093}}), answers), taken


def test_an_alert_that_is_not_delivered_is_a_failure_although_another_run_s_was(monkeypatch):
    kit, taken = kit_of(delivers=False)
    monkeypatch.setattr(check, "DELIVERY_S", 1)
    assert "accepted, but not delivered within 1 s: nothing came" in failure_of(check.check, kit).evidence
    assert len(taken) == 2, "taken back all the same"


def test_receivers_that_tell_nobody_are_a_warning():
    kit, _ = kit_of(original="url_file: /etc/alertmanager/secrets/page_url")
    _, warning = check.check(kit)
    unset = "alertmanager_default_url, alertmanager_deadman_url"
    assert warning == f"no URL in {unset}: their alerts are told to nobody"
