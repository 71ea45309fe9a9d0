"""The check of the blackbox exporter: does it ask the front door, and what did it get."""

from typing import Any

from a_kit import Said, ScriptedKit, broken, check_of, in_turn, site

check = check_of("blackbox_exporter")
ANSWER = """# HELP probe_duration_seconds how long
probe_duration_seconds 0.012
probe_http_duration_seconds{{phase="connect"}} 0.5
probe_http_status_code {status}
probe_success {success}
"""
DOOR = "http://10.0.0.1:8080/healthz"
NODES: list[dict[str, Any]] = [
    {
        "name": "PI51",
        "address": "10.0.0.1",
        "services": {"nginx": {"ports": {"http": 8080}}, "kong": {"ports": {}}},
    },
    {"name": "ORIN0", "address": "10.0.0.3", "services": {"nginx": {"ports": {"http": 80}}}},
]


def kit_of(status: int = 200, pings: int = 1, nodes: list[dict[str, Any]] = NODES) -> ScriptedKit:
    """An exporter that got this status of the front door, and as many answers to a ping."""
    door = ANSWER.format(status=status, success=int(status == 200))
    probes = in_turn((200, door), (200, ANSWER.format(status=0, success=pings)))
    answers: dict[str, Said] = {"GET /probe": probes, "GET /metrics": (200, "")}
    return ScriptedKit(site("PI41", {"blackbox_exporter": {"web": 9115}}, nodes), answers)


def test_the_front_door_is_asked_and_a_node_is_pinged():
    kit = kit_of()
    assert check.check(kit) == "the front door answered 200 in 12 ms; nodes can be pinged"
    assert kit.asked == [
        "GET /probe?module=http_2xx&target=http%3A%2F%2F10.0.0.1%3A8080%2Fhealthz",
        "GET /probe?module=icmp&target=10.0.0.1",
    ], "of two nginx the one before Kong"


def test_a_front_door_that_is_not_open_is_broken_and_whose_fault_it_may_be_is_said():
    found = broken(check.check, kit_of(503))
    assert f"the front door {DOOR} answered 503" in found.evidence
    assert found.next_command == f"curl -v '{DOOR}'"
    assert found.because == ["nginx on PI51", "kong on PI51"]


def test_without_pings_it_says_what_that_means():
    assert check.check(kit_of(pings=0)).endswith(
        "no ping comes back, so NodeDown goes by node_exporter alone"
    )
