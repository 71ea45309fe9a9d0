"""One backup of all nodes: start each node's own, side by side, and tell what comes of it.

No data comes here. Each node is one process that prints a JSON object a line: `event` (start, done, failed,
at last end), `job`, `store`, `bytes`, `seconds`, `message`, `line` (for people); its exit code is that of
the node's backup.
"""

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

UNREACHABLE = 255  # ssh's own exit code
# Nobody is there to type a password; a node that is switched off meanwhile is noticed within a minute.
SSH_OPTIONS = ("-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=20")
AGENT = "/opt/aicluster/bin/aicluster_backup.py"


@dataclass
class Outcome:
    """What came of one node: the snapshots it made, a sentence for each failure, and what it said at last."""

    node: str
    made: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def command(
    ssh: Sequence[str], by: str, words: Sequence[str] = ("follow", "--start"), program: str = AGENT
) -> list[str]:
    """Return what starts a program of a node in the name of `by`, and follows it; `ssh`: how ssh gets there.

    A node's shell reads the words, and the program's output comes as it is written.
    """
    return ["ssh", *SSH_OPTIONS, *ssh, "sudo", "-n", program, *map(shlex.quote, (*words, "--by", by))]


def failure_of(event: Mapping[str, Any]) -> str:
    """Return the sentence about a copy that was not made."""
    return f"{event.get('job', '')}: {event.get('message', '')}"


def heard(outcome: Outcome, text: str) -> str:
    """Add one line of a node to its outcome; return what a person reads of it, or nothing."""
    try:
        event = json.loads(text)
        kind = event["event"]
    except (ValueError, KeyError, TypeError):
        return ""
    if kind == "done":
        outcome.made.append({key: event.get(key) for key in ("job", "store", "bytes", "seconds")})
    elif kind == "failed":
        outcome.failures.append(failure_of(event))
    elif kind == "end":
        outcome.end = event
        # Also what was under way when the run was killed.
        outcome.failures += [
            text for text in map(failure_of, event.get("failed", ())) if text not in outcome.failures
        ]
    return f"{outcome.node}: {event['line']}" if kind in ("done", "failed") else ""


def follow(argv: Sequence[str], hear: Callable[[str], object]) -> tuple[int, str]:
    """Hear the lines of a process as they come; return its exit code and the last line of its errors."""
    pipe = subprocess.PIPE
    # A machine may greet in any encoding.
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
    ) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            hear(line.rstrip("\n"))
        errors = process.stderr.read().strip().splitlines()
    return process.returncode, errors[-1] if errors else f"exit code {process.returncode}"


def followed(node: str, argv: Sequence[str], tell: Callable[[str], object]) -> tuple[Outcome, int]:
    """Run the process of a node to its end; return what came of it, and its exit code."""
    outcome = Outcome(node)

    def hear(text: str) -> None:
        if line := heard(outcome, text):
            tell(line)

    code, last = follow(argv, hear)
    if code == UNREACHABLE:
        outcome.failures.append(f"does not answer over ssh: {last}")
    elif code and not outcome.failures:
        outcome.failures.append(last)
    return outcome, code


def run(commands: Mapping[str, Sequence[str]], tell: Callable[[str], object]) -> list[Outcome]:
    """Run one process per node, all at once; `tell` gets each line for people as it comes."""
    with ThreadPoolExecutor(max_workers=max(1, len(commands))) as pool:
        return list(pool.map(lambda node: followed(node, commands[node], tell)[0], commands))


def report(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Return the outcome of all nodes as one document."""
    return {
        "ok": not any(outcome.failures for outcome in outcomes),
        "seconds": round(seconds, 1),
        "bytes": sum(made["bytes"] or 0 for outcome in outcomes for made in outcome.made),
        "nodes": [
            {"node": outcome.node, "snapshots": outcome.made, "failures": outcome.failures}
            for outcome in outcomes
        ],
    }


def summary(document: Mapping[str, Any]) -> list[str]:
    """Return the last lines of a run: every failure, then one sentence about all nodes."""
    nodes = document["nodes"]
    failed = [node for node in nodes if node["failures"]]
    lines = [f"{node['node']}: {failure}" for node in failed for failure in node["failures"]]
    made = sum(len(node["snapshots"]) for node in nodes)
    added = f"{document['bytes'] / 1e6:.1f} MB added in {document['seconds']:.0f} s"
    names = ", ".join(node["node"] for node in failed)
    return [
        *lines,
        f"backup: {made} snapshots of {len(nodes)} nodes, {added}"
        + (f"; FAILED on {names}" if failed else ""),
    ]
