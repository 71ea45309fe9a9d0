"""The check of Kong: configuration, health of the AI nodes it balances, the key."""

from typing import Any

import pytest
from aicluster_verify import Broken
from by_path import import_file
from fake_service import FakeKit, Says, serving

kong = import_file("roles/kong/templates/opt/aicluster/checks/kong.py", "check_kong")


def ai(name: str, address: str, share: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "address": address,
        "tier": "x",
        "share": share,
        "services": {"ollama": {"ports": {"api": 11434}}},
    }


NODES = [ai("AGX0", "10.0.0.1", 80), ai("ORIN0", "10.0.0.2", 20), ai("NANO", "10.0.0.3", 0)]


def target(address: str, weight: int = 1, health: str = "HEALTHY") -> dict[str, Any]:
    return {"target": f"{address}:11434", "weight": weight, "health": health}


def check(
    targets: list[dict[str, Any]] | None = None, nodes: list[dict[str, Any]] = NODES, **changes: Says
) -> str:
    listed = [target("10.0.0.1", 4), target("10.0.0.2")] if targets is None else targets
    answers = {
        "ready": Says(),
        "status": Says(body={"configuration_hash": "ab" * 16}),
        "chat": Says(401),
    } | changes
    paths = {
        "GET /status/ready": answers["ready"],
        "GET /status": answers["status"],
        "POST /api/v1/chat": answers["chat"],
        "GET /upstreams/ai-chat/health": Says(body={"data": listed}),
    }
    with serving(paths) as service:
        evidence: str = kong.check(FakeKit(service, {"node": "PI51", "services": {}, "cluster": nodes}))
        return evidence


def test_a_node_in_another_mode_may_be_away(monkeypatch):
    monkeypatch.setattr(kong, "asleep", lambda _kit, target: target.startswith("10.0.0.2"))
    assert "AGX0 healthy" in check([target("10.0.0.1", 4), target("10.0.0.2", 1, "UNHEALTHY")])


def test_when_nobody_answers_it_does_not_matter_who_sleeps(monkeypatch):
    monkeypatch.setattr(kong, "asleep", lambda _kit, _target: True)
    with pytest.raises(Broken, match=r"AGX0 .* is UNHEALTHY"):
        check([target("10.0.0.1", 4, "UNHEALTHY"), target("10.0.0.2", 1, "UNHEALTHY")])


@pytest.mark.parametrize(
    ("metrics", "sleeps"),
    [
        ('aicluster_service_state{name="ollama",state="asleep"} 1.0', True),
        ('aicluster_service_state{name="ollama",state="asleep"} 1', True),
        ('aicluster_service_state{name="ollama",state="asleep"} 0', False),
        ("", False),
    ],
    ids=["asleep", "asleep, as node_exporter writes it", "awake", "nothing is known"],
)
def test_a_node_says_itself_whether_its_ollama_sleeps(monkeypatch, metrics, sleeps):
    monkeypatch.setattr(kong, "LATEST_S", 0)
    with serving({"GET /metrics": Says(body=metrics)}) as service:
        host, port = service.url.removeprefix("http://").split(":")
        node = ai("ORIN0", host, 20)
        node["services"]["node_exporter"] = {"ports": {"metrics": int(port)}}
        kit = FakeKit(service, {"node": "PI51", "services": {}, "cluster": [node]})
        assert kong.asleep(kit, f"{host}:11434") is sleeps


@pytest.mark.parametrize(
    ("targets", "nodes", "evidence"),
    [
        pytest.param(None, NODES, "abababab, AGX0 and ORIN0 healthy, no key no answer", id="all well"),
        pytest.param(
            [target("10.0.0.1", 0, "UNHEALTHY"), target("10.0.0.2")],
            NODES,
            "abababab, ORIN0 healthy",
            id="a drained node may be away",
        ),
        pytest.param([], [], "there is no AI node", id="nothing to balance"),
        pytest.param(
            [target("10.0.0.1")], [ai("AGX0", "10.0.0.1", None)], "AGX0 healthy", id="weighed by capacity"
        ),
    ],
)
def test_a_gateway_that_works_says_whom_it_reaches(targets, nodes, evidence):
    assert evidence in check(targets, nodes)


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        pytest.param({"ready": Says(503)}, "/status/ready: answered 503", id="not ready"),
        pytest.param(
            {"status": Says(body={"configuration_hash": "0" * 32})}, "without a configuration", id="empty"
        ),
        pytest.param(
            {"targets": [target("10.0.0.1", 4)]}, "does not know ORIN0", id="a node that is not balanced"
        ),
        pytest.param(
            {"targets": [target("10.0.0.1", 4, "UNHEALTHY"), target("10.0.0.2")]},
            r"for Kong AGX0 \(10.0.0.1:11434\) is UNHEALTHY",
            id="a node it cannot reach",
        ),
        pytest.param(
            {"targets": [target("10.0.0.1"), target("10.0.0.2"), target("10.0.0.9", 1, "UNHEALTHY")]},
            "a node of no inventory",
            id="a node that has gone",
        ),
        pytest.param({"chat": Says(200)}, "without a key is answered with 200", id="open to everybody"),
        pytest.param({"chat": Says(404)}, "without a key is answered with 404", id="no way to a chat"),
    ],
)
def test_a_gateway_that_does_not_work_is_broken(changes, evidence):
    with pytest.raises(Broken, match=evidence):
        check(**changes)
