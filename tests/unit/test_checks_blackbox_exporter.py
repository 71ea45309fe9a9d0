"""The check of the blackbox exporter: does it ask the ingress, and what did it get."""

from typing import Any

from a_kit import Said, ScriptedKit, check_of, failure_of, in_turn, site

check = check_of("blackbox_exporter")
ANSWER = """# HELP probe_duration_seconds how long
probe_duration_seconds 0.012
probe_http_duration_seconds{{phase="connect"}} 0.5
probe_http_status_code {status}
probe_success {success}
"""
INGRESS = "http://10.0.0.1:8080/healthz"
NODES: list[dict[str, Any]] = [
    {
        "name": "PI51",
        "address": "10.0.0.1",
        "services": {"nginx": {"ports": {"http": 8080}}, "kong": {"ports": {}}},
    },
    {"name": "ORIN0", "address": "10.0.0.3", "services": {"nginx": {"ports": {"http": 80}}}},
]


def kit_of(status: int = 200, pings: int = 1, nodes: list[dict[str, Any]] = NODES) -> ScriptedKit:
    """An exporter that got this status of the ingress, and as many answers to a ping."""
    page = ANSWER.format(status=status, success=int(status == 200))
    probes = in_turn((200, page), (200, ANSWER.format(status=0, success=pings)))
    answers: dict[str, Said] = {"GET /probe": probes, "GET /metrics": (200, "")}
    return ScriptedKit(site("PI41", {"blackbox_exporter": {"web": 9115}}, nodes), answers)


def test_the_ingress_is_asked_and_a_node_is_pinged():
    kit = kit_of()
    assert check.check(kit) == "the ingress answered 200 in 12 ms; nodes can be pinged"
    assert kit.asked == [
        "GET /probe?module=http_2xx&target=http%3A%2F%2F10.0.0.1%3A8080%2Fhealthz",
        "GET /probe?module=icmp&target=10.0.0.1",
    ], "of two nginx the one before Kong"


def test_an_ingress_that_does_not_answer_has_failed_and_its_possible_causes_are_named():
    found = failure_of(check.check, kit_of(503))
    assert f"the ingress {INGRESS} answered 503" in found.evidence
    assert found.next_command == f"curl -v '{INGRESS}'"
    assert found.caused_by == ["nginx on PI51", "kong on PI51"]


def test_without_pings_it_says_what_that_means():
    assert check.check(kit_of(pings=0)).endswith(
        "no ping comes back, so NodeDown depends on node_exporter alone"
    )
