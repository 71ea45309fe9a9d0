"""The nightly run: every node at once, every line as it comes, every failure by name."""

import json
import sys
from typing import Any

from tables import cases

from aicluster.backup.nightly import report, run, summary

DONE = {"event": "done", "job": "postgres", "store": "AGX0", "bytes": 1500000, "line": "as it went"}
FAILED = {"event": "failed", "job": "minio", "message": "mc mirror: no space left", "line": "FAILED"}


def node(*events: Any, status: int = 0, errors: str = "") -> list[str]:
    """A process that speaks as a node does."""
    lines = "".join(json.dumps(event) + "\n" if isinstance(event, dict) else event for event in events)
    program = f"import sys; sys.stdout.write({lines!r}); sys.stderr.write({errors!r}); sys.exit({status})"
    return [sys.executable, "-c", program]


@cases(("said", "failures", "snapshots"), {
    "a node whose backup runs already says which": (
        node(status=3, errors="a backup runs since 02:00, started by PI31 (process 12)\n"),
        ["a backup runs since 02:00, started by PI31 (process 12)"], 0),
    "a node that is off does not answer": (
        node(status=255, errors="ssh: connect to host 192.0.2.1 port 22: No route to host\n"),
        ["does not answer over ssh: ssh: connect to host 192.0.2.1 port 22: No route to host"], 0),
    "a node that ends without a word is no success": (node(status=1), ["exit code 1"], 0),
    "what was under way when a run was killed is named, and nothing twice": (
        node(FAILED, {"event": "end", "failed": [FAILED, {"job": "a", "message": "ended"}]}, status=1),
        ["minio: mc mirror: no space left", "a: ended"], 0),
    "a greeting of the machine is no event": (node("Welcome\n", DONE), [], 1),
    "nor is one that is no UTF-8": (["printf", r"Gr\374\337e\n%s\n", json.dumps(DONE)], [], 1),
})  # fmt: skip
def test_what_a_node_says_is_its_outcome(said, failures, snapshots):
    [outcome] = run({"PI52": said}, print)
    assert outcome.failures == failures
    assert len(outcome.made) == snapshots


def test_one_failing_node_stops_no_other_and_all_are_told():
    lines: list[str] = []
    outcomes = run(
        {"PI52": node(FAILED, status=1), "AGX0": node({"event": "start", "job": "a"}, DONE)}, lines.append
    )
    document = report(outcomes, 12.3)
    assert sorted(lines) == ["AGX0: as it went", "PI52: FAILED"]
    assert not document["ok"]
    assert summary(document) == [
        "PI52: minio: mc mirror: no space left",
        "backup: 1 snapshots of 2 nodes, 1.5 MB added in 12 s; FAILED on PI52",
    ]
