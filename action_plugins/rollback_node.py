# SPDX-License-Identifier: Apache-2.0
"""Puts back what a service was before its image changed; options in library/rollback_node.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible.utils.display import Display

from aicluster.adapters.node_action import NodeAction, Options
from aicluster.backup import restore, rollback
from aicluster.errors import SiteError
from aicluster.site import pins


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module rollback_node`."""

    OPTIONS: ClassVar[Options] = {
        "phase": {"type": "str", "choices": ["choose", "list", "plan", "pin"], "required": True},
        "nodes": {"type": "list", "elements": "dict", "default": []},
        "node": {"type": "raw", "default": ""},
        "service": {"type": "str", "default": ""},
        "data": {"type": "bool", "default": True},
        "mirror": {"type": "str", "default": ""},
        "pins": {"type": "list", "elements": "dict", "default": []},
        "image": {"type": "str", "default": ""},
        "file": {"type": "path"},
    }
    PREDICTS = True

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run one phase."""
        result: dict[str, Any] = getattr(self, f"_{options['phase']}")(options, task_vars)
        return {"changed": False, **result}

    def _choose(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        hosts = task_vars["ansible_play_hosts_all"]
        return {"hosts": rollback.targets(options["nodes"], hosts, options["service"], str(options["node"]))}

    def _list(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        lines = rollback.listed(options["node"]["name"], self.ask(task_vars, {"verb": "recall"})["before"])
        for line in lines:
            Display().display(line)
        return {"lines": lines}

    def _plan(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the way back; what the stores no longer have is refused here."""
        node, service = options["node"], options["service"]
        before = self.ask(task_vars, {"verb": "recall"})["before"]
        known = rollback.way_back(node, service, before, options["data"])
        new = rollback.pins_for(options["nodes"], node["host"], service, known, options["mirror"])
        image = new[0]["image"]
        Display().display(f"{node['name']}: {service}: {node['services'][service]['image']} -> {image}")
        for one in known["snapshots"]:
            words = restore.words(one["job"], {"snapshot": one["snapshot"], "copy": str(one["copy"])})
            answer = self._low_level_execute_command(restore.command("plan", words))
            said = (
                answer["stdout"] if not answer["rc"] else answer["stderr"] or answer["stdout"]
            ).splitlines()
            if answer["rc"]:
                last = f"{said[-1] if said else answer['rc']}; or put back the image alone with -e data=false"
                raise SiteError(restore.failure(node["name"], restore.REFUSED, last))
            for line in said:
                Display().display(f"{node['name']}: {line}")
        return {
            "image": image,
            "snapshots": known["snapshots"],
            "pins": pins.with_pins(options["pins"], new),
        }

    def _pin(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Have the image on the node, then write it down for this and all later runs."""
        image = "/".join(part for part in (options["mirror"].rstrip("/"), options["image"]) if part)
        answer = self.change(task_vars, {"verb": "pull", "images": [image]})
        for name, said in answer.get("images", {}).items():
            if said["message"]:
                raise SiteError(
                    f"rollback: image {name}: must be on {options['node']['name']} or in its registry, which "
                    f"says: {said['message']}; nothing was changed"
                )
        path, text = Path(options["file"]), pins.text_of(options["pins"])
        changed = not path.is_file() or path.read_text() != text
        path.write_text(text)
        return {"changed": changed}
