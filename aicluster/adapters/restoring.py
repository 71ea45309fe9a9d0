"""What the actions of restore and rollback share: their phases, and what a node's program says."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.utils.display import Display

from ..backup import restore
from ..errors import SiteError
from .node_action import PhasedAction


def show(node: str, lines: Iterable[str]) -> list[str]:
    """Show lines of a node, after its name if one is given; return them."""
    shown = [f"{node}: {line}" if node else line for line in lines]
    for line in shown:
        Display().display(line)
    return shown


class RestoringAction(PhasedAction):
    """An action whose first phase chooses nodes, and whose others work on one of them."""

    def answer(self, node: Mapping[str, Any], verb: str, words: Iterable[str] = (), fix: str = "") -> str:
        """Return what the program of restores prints; raise SiteError where it refuses."""
        said = self._low_level_execute_command(shlex.join([restore.PROGRAM, verb, *words]))
        if said["rc"]:
            lines = (said["stderr"].strip() or said["stdout"].strip()).splitlines()
            last = lines[-1] if lines else f"exit code {said['rc']}"
            raise SiteError(restore.failure(node["name"], restore.REFUSED, last + fix))
        return str(said["stdout"])
