"""`bin/verify --json` as a test sees it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import site_under_test as site
from tree import ROOT


@dataclass(frozen=True)
class Verdict:
    code: int
    report: dict[str, Any]

    @property
    def ok(self) -> bool:
        return bool(self.report["ok"])

    @property
    def failed(self) -> set[tuple[str, str]]:
        """(service, node) of every failure."""
        return {(failure["service"], failure["node"]) for failure in self.report["failures"]}

    def failure(self, service: str, node: str) -> dict[str, Any]:
        [found] = [one for one in self.report["failures"] if (one["service"], one["node"]) == (service, node)]
        return dict(found)

    def states(self) -> dict[tuple[str, str], str]:
        """(service, node) -> healthy, inactive or failed."""
        return {
            (result["service"], node["node"]): result["state"]
            for node in self.report["nodes"]
            for result in node["services"]
        }


def verify(*arguments: str, root: Path = ROOT) -> Verdict:
    ran = site.program("verify", *arguments, root=root)
    return Verdict(ran.returncode, json.loads(ran.stdout))


def all_is_healthy(*arguments: str) -> Verdict:
    """What verify says; AssertionError with the failures that it finds."""
    verdict = verify(*arguments)
    assert verdict.ok, verdict.report["failures"]
    return verdict
