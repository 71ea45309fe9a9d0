"""Repeats after the recap why nodes failed: other nodes go on, and their output buries it."""

from typing import Any

from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: failures
type: aggregate
short_description: why nodes failed, once more at the end
description:
  - Names for each failed or unreachable node its last failed task, and what that said.
  - Is silent where nothing was printed since.
"""


def reason(result: dict[str, Any]) -> str:
    """Return what a failed task says: of a loop its failed items, of a program also its errors."""
    items = [item for item in result.get("results", []) if item.get("failed")]
    said = [result.get("censored") or result.get("msg"), result.get("stderr"), *map(reason, items)]
    return "\n".join(str(text).strip() for text in said if text)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Remembers the last failure of each host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "failures"

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, str] = {}
        self.buried: set[str] = set()

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Remember a failure."""
        if not ignore_errors:
            host = result.host.get_name()
            self.last[host] = f"{result.task.get_name()}\n{reason(result.result)}"
            self.buried.discard(host)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Remember that a node does not answer."""
        self.v2_runner_on_failed(result)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Note that output follows the failures."""
        del result
        self.buried.update(self.last)

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Print what is no longer in sight."""
        for host in sorted(self.buried):
            if stats.failures.get(host) or stats.dark.get(host):
                self._display.display(
                    f"{host} failed: " + self.last[host].replace("\n", "\n  ") + "\n", "red"
                )
