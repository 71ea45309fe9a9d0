"""The check of Kong: configuration, health of the AI nodes it balances, the key, and every way in."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from aicluster_verify import Broken
from by_path import import_file
from fake_service import Asked, FakeKit, Says, serving

Answers = Says | Callable[[Asked], Says]
kong = import_file("roles/kong/templates/opt/aicluster/checks/kong.py", "check_kong")


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch):
    monkeypatch.setattr(kong, "LOOKS_WITHIN_S", 0)
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", -1)
    monkeypatch.setattr(kong, "COUNTING_LIMIT_S", 0)


def ai(name: str, address: str, balanced: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "address": address,
        "tier": "x",
        "balanced": balanced,
        "services": {"ollama": {"ports": {"api": 11434}}},
    }


NODES = [
    ai("AGX0", "10.0.0.1"),
    ai("ORIN0", "10.0.0.2"),
    ai("NANO", "10.0.0.3", balanced=False),
    *(
        {"name": name, "address": "", "balanced": True, "services": {"redis": {}}}
        for name in ("PI52", "PI51")
    ),
]


def target(address: str, weight: int = 1, health: str = "HEALTHY") -> dict[str, Any]:
    return {"target": f"{address}:11434", "weight": weight, "health": health}


def check(
    targets: list[dict[str, Any]] | None = None, nodes: list[dict[str, Any]] = NODES, **changes: Answers
) -> str:
    listed = [target("10.0.0.1", 4), target("10.0.0.2")] if targets is None else targets
    well: dict[str, Answers] = {
        "ready": Says(),
        "status": Says(body={"configuration_hash": "ab" * 16}),
        "chat": Says(401),
        "models": Says(headers={"RateLimit-Limit": "3000"}),
        "code": Says(body={"message": {"content": ""}}, headers={"X-AI-Node": "AGX0"}),
        "queue": Says(body={"queue_running": []}),
        "graph": Says(400, {"error": {"type": "prompt_no_outputs"}}),
        "quality": Says(body={"status": "UP"}),
    }
    answers = {**well, **changes}
    paths = {
        "POST /api/v1/code": answers["code"],
        "GET /api/v1/image/queue": answers["queue"],
        "POST /api/v1/image": answers["graph"],
        "GET /api/v1/code/quality/api/system/status": answers["quality"],
        "GET /status/ready": answers["ready"],
        "GET /status": answers["status"],
        "POST /api/v1/chat": answers["chat"],
        "GET /v1/models": answers["models"],
        "GET /upstreams/ai-chat/health": Says(body={"data": listed}),
    }
    with serving(paths) as service:
        site = {"node": "PI51", "services": {}, "cluster": nodes}
        evidence: str = kong.check(FakeKit(service, site, {"kong/api_key": "the-key"}))
    with_key = [asked for asked in service.asked if "/v1/" in asked.path and asked.path != "/api/v1/chat"]
    assert {dict(asked.headers).get("Apikey") for asked in with_key} <= {"the-key"}
    return evidence


def test_a_node_in_another_mode_may_be_away(monkeypatch):
    monkeypatch.setattr(
        kong, "state_of", lambda _kit, _service, address, _began: "asleep" if address == "10.0.0.2" else "ok"
    )
    assert "AGX0 healthy" in check([target("10.0.0.1", 4), target("10.0.0.2", 1, "UNHEALTHY")])


def test_when_nobody_answers_it_does_not_matter_who_sleeps(monkeypatch):
    monkeypatch.setattr(kong, "state_of", lambda *_: "asleep")
    with pytest.raises(Broken, match=r"AGX0 .* is UNHEALTHY"):
        check([target("10.0.0.1", 4, "UNHEALTHY"), target("10.0.0.2", 1, "UNHEALTHY")])


STATE = 'aicluster_service_state{name="ollama",state="%s"} %s'
# A look five seconds after this check began, and one before; the node's clock shows 1000 now.
LATER, EARLIER = (f"aicluster_containers_seen_timestamp_seconds {at}" for at in (995, 985))


@pytest.mark.parametrize(
    ("metrics", "state"),
    [
        pytest.param([STATE % ("ok", 0), STATE % ("asleep", "1.0"), LATER], "asleep", id="asleep"),
        pytest.param([STATE % ("asleep", 1), EARLIER], "asleep", id="asleep already when this check began"),
        pytest.param([STATE % ("ok", 1), STATE % ("asleep", 0), LATER], "ok", id="awake"),
        pytest.param([STATE % ("broken", 1), LATER], "broken", id="stopped"),
        pytest.param([STATE % ("ok", 1), EARLIER], "", id="awake when it last looked, which is long ago"),
        pytest.param([], "", id="nothing is known yet"),
    ],
)
def test_a_node_says_itself_whether_its_ollama_sleeps(metrics, state):
    body = "\n".join([*metrics, "node_time_seconds 1000.5"])
    with serving({"GET /metrics": Says(body=body)}) as service:
        host, port = service.url.removeprefix("http://").split(":")
        node = ai("ORIN0", host)
        node["services"]["node_exporter"] = {"ports": {"metrics": int(port)}}
        kit = FakeKit(service, {"node": "PI51", "services": {}, "cluster": [node]})
        assert kong.state_of(kit, "ollama", host, time.monotonic() - 10) == state


def test_of_a_node_that_says_nothing_nothing_is_known():
    with serving({}) as service:
        kit = FakeKit(service, {"node": "PI51", "services": {}, "cluster": NODES})
        assert kong.state_of(kit, "ollama", "10.0.0.1", time.monotonic()) == "unknown"


@pytest.mark.parametrize(
    ("states", "probed_within_s", "hopeless"),
    [
        pytest.param(["broken"], 10, True, id="it is down"),
        pytest.param(["broken", "asleep"], 10, True, id="one is down, one asleep"),
        pytest.param(["unknown"], 10, True, id="nobody will tell"),
        pytest.param(["broken", ""], 10, False, id="a node has not looked yet"),
        pytest.param(["ok"], 10, False, id="it is up, and may not have been probed yet"),
        pytest.param(["ok"], -1, True, id="it is up, and still not reached"),
        pytest.param([""], -1, False, id="a node is slower to look than Kong to probe"),
    ],
)
def test_nobody_waits_for_what_will_not_come(monkeypatch, states, probed_within_s, hopeless):
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", probed_within_s)
    assert kong.hopeless(states, time.monotonic()) is hopeless


@pytest.mark.parametrize(
    "told",
    [["", "asleep"], ["ok", "asleep"]],
    ids=["it had not looked yet", "it had looked before the switch"],
)
def test_what_a_node_last_said_is_not_taken_for_what_is_so_now(monkeypatch, told):
    monkeypatch.setattr(kong, "LOOKS_WITHIN_S", 10)
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", 10)
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    says = iter(told)
    monkeypatch.setattr(kong, "state_of", lambda *_: next(says))
    assert "AGX0 healthy" in check([target("10.0.0.1", 4), target("10.0.0.2", 1, "UNHEALTHY")])


@pytest.mark.parametrize(
    ("targets", "nodes", "evidence"),
    [
        pytest.param(
            None, NODES, "abababab, AGX0 and ORIN0 healthy, no key no answer, requests counted", id="all well"
        ),
        pytest.param(
            [target("10.0.0.1", 0, "UNHEALTHY"), target("10.0.0.2")],
            NODES,
            "abababab, ORIN0 healthy",
            id="a drained node may be away",
        ),
        pytest.param([], [], "there is no AI node", id="nothing to balance"),
        pytest.param([target("10.0.0.1")], [ai("AGX0", "10.0.0.1")], "AGX0 healthy", id="one node alone"),
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
        pytest.param(
            {"code": Says(404, "no model")}, "for code is answered 404: no model", id="nobody writes code"
        ),
        pytest.param({"models": Says()}, "are not counted, so no rate limit holds", id="nobody counts"),
    ],
)
def test_a_gateway_that_does_not_work_is_broken(changes, evidence):
    with pytest.raises(Broken, match=evidence):
        check(**changes)


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        pytest.param(
            {"targets": [target("10.0.0.1", 4), target("10.0.0.2", 1, "UNHEALTHY")]},
            ["ollama on ORIN0"],
            id="a node it cannot reach",
        ),
        pytest.param({"chat": Says(200)}, [], id="open to everybody"),
        pytest.param({"models": Says()}, ["redis on PI51"], id="whoever keeps the counters"),
        pytest.param(
            {"code": Says(500, "cannot load", {"X-AI-Node": "AGX0"})},
            ["ollama on AGX0"],
            id="a node that cannot write code",
        ),
        pytest.param({"code": Says(500)}, [], id="Kong itself"),
        pytest.param(
            {"code": Says(delay_s=1)}, ["ollama on AGX0", "ollama on ORIN0"], id="whoever loads a model"
        ),
    ],
)
def test_whose_fault_it_may_be_is_said(monkeypatch, changes, because):
    monkeypatch.setattr(FakeKit, "left", lambda _kit: 0.3)
    with pytest.raises(Broken) as broken:
        check(**changes)
    assert broken.value.because == because


def test_one_request_that_passed_uncounted_is_no_matter(monkeypatch):
    monkeypatch.setattr(kong, "COUNTING_LIMIT_S", 10)
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    answers = iter([Says(), Says(503, headers={"RateLimit-Limit": "3000"})])
    assert "requests counted" in check(models=lambda _asked: next(answers))


# --- ways in that lead to one node, which may be asleep ---

HOME = {
    "name": "ORIN0",
    "address": "10.0.0.2",
    "balanced": False,
    "services": {"comfyui": {}, "sonarqube": {}},
}


def at_home(**changes: Answers) -> str:
    return check([], [HOME], **changes)


@pytest.fixture
def sleeping(monkeypatch):
    """Services a test lets sleep."""
    asleep: set[str] = set()
    monkeypatch.setattr(kong, "state_of", lambda _kit, service, *_: "asleep" if service in asleep else "ok")
    return asleep


@pytest.mark.usefixtures("sleeping")
def test_images_and_code_quality_are_asked_for_through_the_gateway():
    assert at_home().endswith("image, code quality")


def test_what_sleeps_is_told_as_asleep(sleeping):
    sleeping |= {"comfyui", "sonarqube"}
    evidence = at_home(queue=Says(503), quality=Says(503))
    assert evidence.endswith("image asleep, code quality asleep")


def test_a_way_to_nobody_is_not_missed():
    assert check([], []).endswith("there is no AI node")


@pytest.mark.usefixtures("sleeping")
@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        pytest.param({"queue": Says(503)}, "queue of images answers 503", id="no way to ComfyUI"),
        pytest.param({"graph": Says(404)}, "empty graph is answered 404", id="no way for a job"),
        pytest.param({"graph": Says(400, "what?")}, "answered 400: what", id="an answer of somebody else"),
        pytest.param({"quality": Says(503)}, "code quality answers 503", id="no way to SonarQube"),
        pytest.param(
            {"quality": Says(body={"status": "STARTING"})}, "status STARTING", id="SonarQube is not up"
        ),
        pytest.param({"quality": Says(body="[]")}, "answers 200, status None", id="another page"),
    ],
)
def test_a_way_that_leads_nowhere_while_somebody_is_awake_is_broken(changes, evidence):
    with pytest.raises(Broken, match=evidence) as broken:
        at_home(**changes)
    service = "sonarqube" if "quality" in changes else "comfyui"
    assert broken.value.because == [f"{service} on ORIN0"]


def test_a_node_that_has_just_woken_is_waited_for(monkeypatch):
    monkeypatch.setattr(kong, "LOOKS_WITHIN_S", 10)
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", 10)
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    monkeypatch.setattr(kong, "state_of", lambda *_: "ok")
    answers = iter([Says(503), Says(503), Says(body={"queue_running": []})])
    assert "image" in at_home(queue=lambda _asked: next(answers))
