"""What all nodes answered, in one report: what failed, what caused it, and what to do next."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..site.pins import pinned

RUNNER = "/opt/aicluster/bin/aicluster_verify.py"
# Of what a node said instead of results, the end that is shown, in characters.
SHOWN = 600
# Keys of a result that are read here.
READ = {"service", "state", "evidence", "next", "caused_by"}

Result = dict[str, Any]


def results_in(said: str) -> dict[str, Result] | None:
    """Return service -> result of the JSON list in what came back from a node, None without one.

    sudo, PAM and login shells may write before and after it; none of them writes results, or an empty list
    as a line of its own.
    """
    for start in re.finditer(r"\[", said):
        try:
            found, _ = json.JSONDecoder().raw_decode(said, start.start())
        except ValueError:
            continue  # a bracket of somebody else
        if found and all(isinstance(result, dict) and result.keys() >= READ for result in found):
            return {result["service"]: result for result in found}
    return {} if re.search(r"^\[\]\s*$", said, re.MULTILINE) else None


def node_results(expected: Sequence[str], answer: Mapping[str, Any]) -> list[Result]:
    """Return one result per service that placement expects on a node.

    `answer`: stdout (with a JSON list of results), stderr, rc of the command on the node, or unreachable and
    msg. A node that cannot be asked, or was never deployed, has every service failed.
    """
    results = results_in(answer.get("stdout") or "")
    if results is None:
        printed = " ".join(answer.get(stream) or "" for stream in ("stdout", "stderr"))
        whole = str(answer.get("msg") or printed).strip()
        said = whole[-SHOWN:] or "no answer"
        unreachable = bool(answer.get("unreachable"))
        evidence = f"the node cannot be reached: {said}" if unreachable else f"verify does not run: {said}"
        # `command` without a shell says so of the runner, a shell on the node says it with rc 127.
        lost = any(RUNNER in line and "No such file" in line for line in whole.splitlines())
        absent = not unreachable and (answer.get("rc") in (2, 127) or lost)
        next_command = "ansible-playbook site.yml" if absent else ""
        return [not_asked(service, evidence, next_command) for service in expected]
    missing = "is placed here, but the node does not know it"
    return [
        results.get(service, not_asked(service, missing, "ansible-playbook site.yml")) for service in expected
    ]


def not_asked(service: str, evidence: str, next_command: str = "") -> Result:
    """Return the result of a service that could not even be asked."""
    return {
        "service": service,
        "state": "failed",
        "evidence": " ".join(evidence.split()),
        "next": next_command,
        "caused_by": [],
        "seconds": 0,
    }


def causes(node: str, failed: Mapping[str, Iterable[str]], entry: Mapping[str, Any]) -> list[str]:
    """Return `service on NODE` for what a service of a node needs and that has failed itself.

    `failed`: node name -> its failed services; `entry`: the catalogue entry with `needs` and `beside`.
    """
    beside = [f"{name} on {node}" for name in entry.get("beside") or [] if name in failed.get(node, ())]
    needs = [
        f"{name} on {other}"
        for name in entry.get("needs") or []
        for other, services in failed.items()
        if name in services
    ]
    return beside + [cause for cause in needs if cause not in beside]


def summary(nodes: Sequence[Mapping[str, Any]], entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return {ok, services, inactive, failures, warnings} of all nodes.

    `nodes`: [{node, address, services: [result]}]; `entries`: node name -> service -> catalogue entry.
    failures: [{node, address, service, evidence, next, caused_by: [`service on NODE`]}], causes first;
    warnings: [{node, service, text, next}] of healthy services.
    """
    results = [(node, result) for node in nodes for result in node["services"]]
    failed_results = [(node, result) for node, result in results if result["state"] == "failed"]
    names = {f"{result['service']} on {node['node']}" for node, result in failed_results}
    # What names the cause of its own failure is not the cause of that.
    excused = [result for _, result in failed_results if names & set(result["caused_by"])]
    failed = {
        node["node"]: [
            result["service"] for other, result in failed_results if other is node and result not in excused
        ]
        for node in nodes
    }
    failures = [
        {
            **{key: node[key] for key in ("node", "address")},
            **{key: result[key] for key in ("service", "evidence", "next")},
            "caused_by": [cause for cause in result["caused_by"] if cause in names]
            or causes(node["node"], failed, entries[node["node"]].get(result["service"], {})),
        }
        for node, result in failed_results
    ]
    states = [result["state"] for _, result in results]
    return {
        "ok": not failures and bool(states),
        "services": len(states),
        "inactive": states.count("inactive"),
        "failures": sorted(failures, key=lambda failure: len(failure["caused_by"])),
        "warnings": [
            {
                "node": node["node"],
                "service": result["service"],
                "text": result["warning"],
                "next": result["next"],
            }
            for node, result in results
            if result.get("warning")
        ]
        + [
            {"node": node, "service": service, "text": text, "next": ""}
            for node, service, text in pinned(
                {"name": name, "services": own} for name, own in entries.items()
            )
        ],
    }


def next_line(found: Mapping[str, Any], ways: Mapping[str, str], playbook: str) -> str:
    """Return the command to type at the controller for a failure or warning: on a node, through ssh."""
    command = str(found["next"])
    if command.startswith("ansible-playbook") or not command:
        return command.replace("ansible-playbook", playbook, 1)
    elsewhere = re.fullmatch(r"on (\S+): (.+)", command)
    node, command = elsewhere.groups() if elsewhere else (found["node"], command)
    return f"{ways[node]} {shlex.quote(command)}"


def lines_of(node: str, results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line per service for people."""
    return [
        f"{node:<6} {result['state']:<8} {result['service']:<18} {result['evidence']}" for result in results
    ]


def verdict_lines(content: Mapping[str, Any], ways: Mapping[str, str], playbook: str) -> list[str]:
    """Return the end of the report: what failed, why, the next command, what else one should know.

    `ways`: node name -> the ssh command that gets there; `playbook`: how a playbook is run on these nodes.
    """
    lines = []
    for failure in content["failures"]:
        lines.append(f"{failure['service']} on {failure['node']}: {failure['evidence']}")
        if failure["caused_by"]:
            lines.append(f"    caused by {', '.join(failure['caused_by'])}")
        elif command := next_line(failure, ways, playbook):
            lines.append(f"    next: {command}")
    for warning in content["warnings"]:
        lines.append(f"warning: {warning['service']} on {warning['node']}: {warning['text']}")
        if command := next_line(warning, ways, playbook):
            lines.append(f"    next: {command}")
    inactive = f", {content['inactive']} inactive" if content["inactive"] else ""
    healthy = content["services"] - content["inactive"] - len(content["failures"])
    count = f"{healthy} of {content['services']} services are healthy{inactive}"
    return [*lines, f"{'OK' if content['ok'] else 'NOT OK'}: {count} ({content['seconds']} s)"]
