"""The check of Kong: configuration, health of the AI nodes it balances, the key, and every way in."""

import time
from typing import Any

import pytest
from a_kit import SLOW, Said, ScriptedKit, check_of, failure_of, site

kong = check_of("kong")
PORTS = {"kong": {"proxy": 8000, "admin": 8001, "status": 8100}}
COUNTED = ("RateLimit-Limit", "3000")
QUEUE = "GET /api/v1/image/queue"
QUALITY = "GET /api/v1/code/quality/api/system/status"
# What a client may ask with its key, and what is asked besides.
WITH_KEY: dict[str, Said] = {
    "POST /api/v1/code": (200, {"message": {"content": ""}}, ("X-AI-Node", "AGX0")),
    QUEUE: (200, {"queue_running": []}),
    "POST /api/v1/image": (400, {"error": {"type": "prompt_no_outputs"}}),
    QUALITY: (200, {"status": "UP"}),
    "GET /v1/models": (200, {}, COUNTED),
}
WITHOUT: dict[str, Said] = {
    "GET /status/ready": (200, {}),
    "GET /status": (200, {"configuration_hash": "ab" * 16}),
    "POST /api/v1/chat": (401, {}),
}


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch):
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", -1)


def ai(name: str, address: str, balanced: bool = True) -> dict[str, Any]:
    services: dict[str, Any] = {"ollama": {"ports": {"api": 11434}}}
    return {"name": name, "address": address, "balanced": balanced, "services": services}


NODES = [
    ai("AGX0", "10.0.0.1"),
    ai("ORIN0", "10.0.0.2"),
    ai("NANO", "10.0.0.3", balanced=False),
    *(
        {"name": name, "address": "", "balanced": True, "services": {"redis": {}}}
        for name in ("PI52", "PI51")
    ),
]
HOME = [ai("ORIN0", "10.0.0.2", balanced=False) | {"services": {"comfyui": {}, "sonarqube": {}}}]


def target(address: str, weight: int = 1, health: str = "HEALTHY") -> dict[str, Any]:
    return {"target": f"{address}:11434", "weight": weight, "health": health}


AWAY = [target("10.0.0.1", 4), target("10.0.0.2", 1, "UNHEALTHY")]


def to_holders_of_the_key(said: Said) -> Said:
    def answer(data: Any, headers: Any) -> Any:
        if headers.get("apikey") != "the-key":
            return 401, {}
        return said(data, headers) if callable(said) else said

    return answer


def kit_of(
    changed: dict[str, Said] | None = None, targets: Any = None, nodes: list[dict[str, Any]] = NODES
) -> ScriptedKit:
    """A gateway that works, but for what is changed."""
    listed = [target("10.0.0.1", 4), target("10.0.0.2")] if targets is None else targets
    answers = {**WITHOUT, **WITH_KEY, **(changed or {})}
    answers |= {way: to_holders_of_the_key(answers[way]) for way in WITH_KEY}
    health: Said = (200, {"data": listed})
    return ScriptedKit(
        site("PI51", PORTS, nodes),
        {**answers, "GET /upstreams/ai-chat/health": health},
        secrets={"kong/api_key": "the-key"},
    )


@pytest.fixture
def tell(monkeypatch):
    """Have nodes tell the state of a service: by what it is told, (service, address) -> state."""

    def telling(state_of: Any) -> None:
        monkeypatch.setattr(kong, "state_of", lambda _kit, *asked: state_of(*asked[:2]))

    telling(lambda *_: "healthy")
    return telling


# --- AI nodes ---


def test_a_node_in_another_profile_may_be_away(tell):
    tell(lambda _service, address: "inactive" if address == "10.0.0.2" else "healthy")
    assert "AGX0 healthy" in kong.check(kit_of(targets=AWAY))


def test_when_nobody_answers_it_does_not_matter_who_is_inactive(tell):
    tell(lambda *_: "inactive")
    away = [target("10.0.0.1", 4, "UNHEALTHY"), target("10.0.0.2", 1, "UNHEALTHY")]
    assert "AGX0 (10.0.0.1:11434) is UNHEALTHY" in failure_of(kong.check, kit_of(targets=away)).evidence


STATE = 'aicluster_service_state{name="ollama",state="%s"} %s'
# A look five seconds after this check began, and one before; the node's clock shows 1000 now.
LATER, EARLIER = (f"aicluster_containers_seen_timestamp_seconds {at}" for at in (995, 985))


@pytest.mark.parametrize(("metrics", "state"), [
    pytest.param([STATE % ("healthy", 0), STATE % ("inactive", "1.0"), LATER], "inactive", id="inactive"),
    pytest.param([STATE % ("inactive", 1), EARLIER], "inactive", id="inactive already when this check began"),
    pytest.param([STATE % ("healthy", 1), STATE % ("inactive", 0), LATER], "healthy", id="active"),
    pytest.param([STATE % ("failed", 1), LATER], "failed", id="stopped"),
    pytest.param([STATE % ("healthy", 1), EARLIER], "", id="active when it last looked, which is long ago"),
    pytest.param([], "", id="nothing is known yet"),
    pytest.param(None, "unknown", id="the node says nothing"),
])  # fmt: skip
def test_a_node_reports_itself_whether_its_ollama_is_inactive(metrics, state):
    node = ai("ORIN0", "10.0.0.2")
    node["services"]["node_exporter"] = {"ports": {"metrics": 9100}}
    page = None if metrics is None else (200, "\n".join([*metrics, "node_time_seconds 1000.5"]))
    kit = ScriptedKit(site("PI51", {}, [node]), {"GET http://10.0.0.2:9100/metrics": page})
    assert kong.state_of(kit, "ollama", "10.0.0.2", time.monotonic() - 10) == state


@pytest.mark.parametrize(("states", "probed_within_s", "hopeless"), [
    pytest.param(["failed"], 10, True, id="it is down"),
    pytest.param(["failed", ""], 10, False, id="a node has not looked yet"),
    pytest.param(["healthy"], 10, False, id="it is up, and may not have been probed yet"),
    pytest.param(["healthy"], -1, True, id="it is up, and still not reached"),
    pytest.param([""], -1, False, id="a node is slower to look than Kong to probe"),
])  # fmt: skip
def test_nobody_waits_for_what_will_not_come(monkeypatch, states, probed_within_s, hopeless):
    monkeypatch.setattr(kong, "PROBED_WITHIN_S", probed_within_s)
    assert kong.hopeless(states, time.monotonic()) is hopeless


# --- what is seen ---


WORKING: dict[str, tuple[Any, ...]] = {
    "all healthy": (None, NODES, "abababab, AGX0 and ORIN0 healthy, no key no answer, requests counted"),
    "a drained node may be away": ([target("10.0.0.1", 0, "UNHEALTHY"), target("10.0.0.2")], NODES,
        "abababab, ORIN0 healthy"),
    "nothing to balance, and no way in": ([], [], "there is no AI node"),
    "images and code quality": ([], HOME, "image, code quality"),
}  # fmt: skip


@pytest.mark.parametrize(("targets", "nodes", "evidence"), WORKING.values(), ids=WORKING)
@pytest.mark.usefixtures("tell")
def test_a_gateway_that_works_says_whom_it_reaches(targets, nodes, evidence):
    assert evidence in kong.check(kit_of(None, targets, nodes))


NOT_REACHED = "for Kong ORIN0 (10.0.0.2:11434) is UNHEALTHY"
NEEDS_LONGER = "a model that is not in memory may need longer"


FAILED: dict[str, tuple[Any, ...]] = {
    "without a configuration": (
        kit_of({"GET /status": (200, {"configuration_hash": "0" * 32})}),
        "without a configuration",
    ),
    "a node that is not balanced": (kit_of(targets=[target("10.0.0.1", 4)]), "does not know ORIN0"),
    "a node it cannot reach": (kit_of(targets=AWAY), NOT_REACHED, "ollama on ORIN0"),
    "open to everybody": (kit_of({"POST /api/v1/chat": (200, {})}), "without a key is answered with 200"),
    "nobody writes code, by Kong's own fault": (
        kit_of({"POST /api/v1/code": (404, "no model")}),
        "for code is answered 404: no model",
    ),
    "a node that cannot write code": (
        kit_of({"POST /api/v1/code": (500, "cannot load", ("X-AI-Node", "AGX0"))}),
        "for code is answered 500: cannot load",
        "ollama on AGX0",
    ),
    "whoever loads a model": (
        kit_of({"POST /api/v1/code": SLOW}), NEEDS_LONGER, "ollama on AGX0", "ollama on ORIN0"
    ),
    "nobody counts": (kit_of({"GET /v1/models": (200, {})}), "no rate limit holds", "redis on PI51"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED.values(), ids=FAILED)
def test_a_gateway_that_does_not_work_has_failed_and_the_possible_causes_are_named(case):
    kit, evidence, *causes = case
    found = failure_of(kong.check, kit)
    assert evidence in found.evidence
    assert found.caused_by == causes


# --- ways in that lead to one node, which may be inactive ---


def test_an_inactive_service_is_reported_as_inactive(tell):
    tell(lambda *_: "inactive")
    kit = kit_of({QUEUE: (503, {}), QUALITY: (503, {})}, [], HOME)
    assert kong.check(kit).endswith("image inactive, code quality inactive")


@pytest.mark.usefixtures("tell")
@pytest.mark.parametrize(("way", "evidence"), [
    pytest.param("POST /api/v1/image", "empty graph is answered 503", id="no way for a job"),
    pytest.param(QUEUE, "queue of images answers 503", id="no way to ComfyUI"),
    pytest.param(QUALITY, "code quality answers 503", id="no way to SonarQube"),
])  # fmt: skip
def test_a_way_that_leads_nowhere_while_its_service_is_active_has_failed(way, evidence):
    found = failure_of(kong.check, kit_of({way: (503, {})}, [], HOME))
    assert evidence in found.evidence
    assert found.caused_by == [f"{'sonarqube' if way == QUALITY else 'comfyui'} on ORIN0"]
