# SPDX-License-Identifier: Apache-2.0
"""Verify of the whole cluster: one question per node, one report for people, one for programs.

`phase: begin` (once) names the run. `phase: ask` runs the node's own `aicluster_verify.py` and shows what it
says. `phase: report` (once) adds up: what is broken because something else is, what to do next.
"""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader
from ansible.utils.display import Display

RUNNER = "/opt/aicluster/bin/aicluster_verify.py"
# Of what a node said instead of results, the end that is shown, in characters.
SHOWN = 600
# Keys of a result that are read here.
READ = {"service", "state", "evidence", "next", "because"}

Result = dict[str, Any]


# ---------------------------------------------------------------- pure functions


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
    msg. A node that cannot be asked, or was never deployed, has every service broken.
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
        return [broken(service, evidence, next_command) for service in expected]
    missing = "is placed here, but the node does not know it"
    return [
        results.get(service, broken(service, missing, "ansible-playbook site.yml")) for service in expected
    ]


def broken(service: str, evidence: str, next_command: str = "") -> Result:
    """Return the result of a service that could not even be asked."""
    return {
        "service": service,
        "state": "broken",
        "evidence": " ".join(evidence.split()),
        "next": next_command,
        "because": [],
        "seconds": 0,
    }


def causes(node: str, failed: Mapping[str, Iterable[str]], entry: Mapping[str, Any]) -> list[str]:
    """Return `service on NODE` for what a service of a node needs and that is broken itself.

    `failed`: node name -> its broken services; `entry`: the catalogue entry with `needs` and `beside`.
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
    """Return {ok, services, asleep, failures, warnings} of all nodes.

    `nodes`: [{node, address, services: [result]}]; `entries`: node name -> service -> catalogue entry.
    failures: [{node, address, service, evidence, next, because: [`service on NODE`]}], causes first;
    warnings: [{node, service, text, next}] of services that are well.
    """
    results = [(node, result) for node in nodes for result in node["services"]]
    broken_ones = [(node, result) for node, result in results if result["state"] == "broken"]
    names = {f"{result['service']} on {node['node']}" for node, result in broken_ones}
    # What names the cause of its own failure is not the cause of that.
    excused = [result for _, result in broken_ones if names & set(result["because"])]
    failed = {
        node["node"]: [
            result["service"] for other, result in broken_ones if other is node and result not in excused
        ]
        for node in nodes
    }
    failures = [
        {
            "node": node["node"],
            "address": node["address"],
            "service": result["service"],
            "evidence": result["evidence"],
            "next": result["next"],
            "because": [cause for cause in result["because"] if cause in names]
            or causes(node["node"], failed, entries[node["node"]].get(result["service"], {})),
        }
        for node, result in broken_ones
    ]
    states = [result["state"] for _, result in results]
    return {
        "ok": not failures and bool(states),
        "services": len(states),
        "asleep": states.count("asleep"),
        "failures": sorted(failures, key=lambda failure: len(failure["because"])),
        "warnings": [
            {
                "node": node["node"],
                "service": result["service"],
                "text": result["warning"],
                "next": result["next"],
            }
            for node, result in results
            if result.get("warning")
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
        f"{node:<6} {result['state']:<7} {result['service']:<18} {result['evidence']}" for result in results
    ]


def verdict_lines(content: Mapping[str, Any], ways: Mapping[str, str], playbook: str) -> list[str]:
    """Return the end of the report: what is broken, why, the next command, what else one should know.

    `ways`: node name -> the ssh command that gets there; `playbook`: how a playbook is run on these nodes.
    """
    lines = []
    for failure in content["failures"]:
        lines.append(f"{failure['service']} on {failure['node']}: {failure['evidence']}")
        if failure["because"]:
            lines.append(f"    because of {', '.join(failure['because'])}")
        elif command := next_line(failure, ways, playbook):
            lines.append(f"    next: {command}")
    for warning in content["warnings"]:
        lines.append(f"warning: {warning['service']} on {warning['node']}: {warning['text']}")
        if command := next_line(warning, ways, playbook):
            lines.append(f"    next: {command}")
    asleep = f", {content['asleep']} asleep" if content["asleep"] else ""
    count = (
        f"{content['services'] - len(content['failures'])} of {content['services']} services are well{asleep}"
    )
    return [*lines, f"{'OK' if content['ok'] else 'NOT OK'}: {count} ({content['seconds']} s)"]


# ---------------------------------------------------------------- the plugin


class ActionModule(ActionBase):
    """Action plugin `verify_nodes`: begin, ask, report."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one phase."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "phase": {"type": "str", "choices": ["begin", "ask", "report"], "required": True},
                "begun": {"type": "dict", "default": {}},
                "node": {"type": "dict", "default": {}},
                "nodes": {"type": "list", "elements": "dict", "default": []},
                "json_file": {"type": "str", "default": ""},
            }
        )
        if arguments["phase"] == "begin":
            return {
                "changed": False,
                "run_id": f"run-{uuid.uuid4().hex[:12]}",
                "began": time.time(),
                "hosts": list((task_vars or {})["ansible_play_hosts_all"]),
            }
        if arguments["phase"] == "ask":
            return self._ask(arguments["node"], arguments["begun"], task_vars or {})
        return self._report(task_vars or {}, arguments)

    def _ask(
        self, node: Mapping[str, Any], begun: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Ask one node; a node that cannot be reached raises, and Ansible notes it."""
        together = ",".join(str(variables["hostvars"][host]["node_name"]) for host in begun["hosts"])
        # What Ansible would escalate for a module, it does for this command, too.
        answer: dict[str, Any] = self._low_level_execute_command(
            f"{RUNNER} --json --run-id {begun['run_id']} --together {shlex.quote(together)}"
        )
        results = node_results(list(node["services"]), answer)
        for line in lines_of(str(node["name"]), results):
            Display().display(line)
        return {"changed": False, "results": results}

    def _report(self, variables: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Add up what all nodes answered; fails unless every service is well."""
        nodes = []
        begun = arguments["begun"]
        asked = [node for node in arguments["nodes"] if node["host"] in begun["hosts"]]
        for node in asked:
            answer = variables["hostvars"][node["host"]].get("__verify", {})
            results = answer.get("results")
            if results is None:
                results = node_results(list(node["services"]), answer)
                for line in lines_of(str(node["name"]), results):
                    Display().display(line)
            nodes.append({"node": node["name"], "address": node["address"], "services": results})
        content = {
            **summary(nodes, {node["name"]: node["services"] for node in asked}),
            "run_id": begun["run_id"],
            "seconds": round(time.time() - begun["began"], 1),
            "nodes": nodes,
        }
        if arguments["json_file"]:
            Path(arguments["json_file"]).write_text(json.dumps(content, indent=2) + "\n")
        # Of all nodes: a check may say what to do on one that is not asked.
        ssh_command, hosts = filter_loader.get("ssh_command").j2_function, variables["hostvars"]
        ways = {node["name"]: ssh_command(hosts[node["host"]]) for node in arguments["nodes"]}
        ansible_command = filter_loader.get("ansible_command").j2_function
        said = verdict_lines(content, ways, ansible_command(variables["ansible_inventory_sources"]))
        for line in said:
            Display().display(line)
        return {"changed": False, "failed": not content["ok"], "msg": said[-1]}
