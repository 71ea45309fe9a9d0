"""Verify of the whole cluster: what the answers of all nodes add up to."""

import json
from typing import Any

import pytest
from tables import cases

from aicluster.verify.report import node_results, summary, verdict_lines


def result(service: str, state: str = "healthy", **more: Any) -> dict[str, Any]:
    usual = {"evidence": f"{service} seen", "next": "", "caused_by": [], "seconds": 0.1}
    return {"service": service, "state": state, **usual, **more}


def node(name: str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"node": name, "address": f"10.0.0.{len(name)}", "services": list(results)}


ENTRIES: dict[str, Any] = {"A": {"sql": {}, "cache": {}}, "BB": {"web": {"needs": ["sql"]}}}


@pytest.mark.parametrize("stdout", [json.dumps([result("a")]), "motd\r\n[]\r\n"], ids=["one known", "none"])
def test_a_service_the_node_does_not_know_has_failed(stdout):
    unknown = node_results(["a", "b"], {"stdout": stdout, "rc": 0})[1]
    assert (unknown["state"], unknown["next"]) == ("failed", "ansible-playbook site.yml")
    assert unknown["evidence"] == "is placed here, but the node does not know it"


@cases(("answer", "evidence", "next_command"), {
    "a node that is away": ({"unreachable": True, "msg": "ssh: connect to host: timed out"},
        "the node cannot be reached: ssh: connect to host: timed out", ""),
    "a runner that ends with an error, on a terminal that mixes all it hears": (
        {"rc": 1, "stdout": "hello\r\nTraceback\r\n", "stderr": "Shared connection\n closed"},
        "verify does not run: hello Traceback Shared connection closed", ""),
    "a node never deployed": ({"rc": 127, "stderr": "sudo: aicluster_verify.py: command not found"},
        "verify does not run: sudo: aicluster_verify.py: command not found", "ansible-playbook site.yml"),
})  # fmt: skip
def test_every_service_has_failed_on_a_node_that_cannot_be_asked(answer, evidence, next_command):
    results = node_results(["a", "b"], answer)
    assert [one["state"] for one in results] == ["failed", "failed"]
    assert {one["evidence"] for one in results} == {evidence}
    assert {one["next"] for one in results} == {next_command}


@cases(("before", "after"), {
    "sudo": ("sudo: unable to resolve host PI41: Name or service not known\r\n", ""),
    "brackets, and no end of the line": ('[motd] {"load": 1} [{"news": 0}] [', ""),
})  # fmt: skip
def test_what_sudo_pam_and_shells_print_around_the_answer_is_no_part_of_it(before, after):
    answer = {"stdout": before + json.dumps([result("a", evidence="[{x}]")]) + after, "rc": 0}
    assert [(one["state"], one["evidence"]) for one in node_results(["a"], answer)] == [("healthy", "[{x}]")]


def test_a_node_that_is_away_is_what_others_point_to():
    away = {"node": "BB", "address": "10.0.0.2"} | {
        "services": node_results(["web", "exporter"], {"unreachable": True, "msg": "no route to host"})
    }
    asking = result("metrics", "failed", caused_by=["exporter on BB", "web on BB"])
    entering = result("control", "failed", caused_by=["access on BB"])
    content = summary([node("A", asking, entering), away], {"A": {}, "BB": {}})
    assert [(one["service"], one["node"], one["caused_by"]) for one in content["failures"]] == [
        ("control", "A", []),
        ("web", "BB", []),
        ("exporter", "BB", []),
        ("metrics", "A", ["exporter on BB", "web on BB"]),
    ], "what runs nowhere is nobody's cause"


def said(*nodes: dict[str, Any]) -> list[str]:
    ways = {"A": "ssh -p 2222 me@a.example", "BB": "ssh ansible@10.0.0.2"}
    return verdict_lines(summary(nodes, ENTRIES) | {"seconds": 3.0}, ways, "ansible-playbook -i home")


def test_the_report_gives_the_next_command_of_the_cause_through_ssh():
    failed = result("sql", "failed", next="sudo docker logs 'sql'")
    lines = said(node("A", failed), node("BB", result("web", "failed", next="x")))
    assert lines == [
        "sql on A: sql seen",
        """    next: ssh -p 2222 me@a.example 'sudo docker logs '"'"'sql'"'"''""",
        "web on BB: web seen",
        "    caused by sql on A",
        "NOT OK: 0 of 2 services are healthy (3.0 s)",
    ]


@cases(("command", "lines"), {
    "no command": ("", []),
    "a playbook": ("ansible-playbook site.yml", ["    next: ansible-playbook -i home site.yml"]),
    "a command there": ("x y", ["    next: ssh -p 2222 me@a.example 'x y'"]),
})  # fmt: skip
def test_warnings_stand_before_the_last_line_each_with(command, lines):
    warned = result("cache", warning="nobody listens", next=command)
    assert said(node("A", result("sql"), warned)) == [
        "warning: cache on A: nobody listens",
        *lines,
        "OK: 2 of 2 services are healthy (3.0 s)",
    ]
