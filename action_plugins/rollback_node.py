"""Puts back what a service was before its image changed; options in library/rollback_node.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aicluster.adapters.restoring import RestoringAction, show
from aicluster.backup import restore, rollback
from aicluster.errors import SiteError
from aicluster.site import pins


class ActionModule(RestoringAction):
    """See the module's documentation: `ansible-doc -t module rollback_node`."""

    def _choose(self, options: Mapping[str, Any]) -> dict[str, Any]:
        hosts = self._task_vars["ansible_play_hosts_all"]
        return {"hosts": rollback.targets(options["nodes"], hosts, options["service"], str(options["node"]))}

    def _show(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the way back, without a service none; what the stores no longer have is refused here."""
        node, service = options["node"], options["service"]
        before = dict(self.ask({"verb": "recall"})["before"])
        if not service:
            show("", rollback.listed(node["name"], before))
            return {}
        known = rollback.way_back(node, service, before, options["data"])
        new = rollback.pins_for(options["nodes"], node["host"], service, known, options["mirror"])
        image = new[0]["image"]
        show(node["name"], [f"{service}: {node['services'][service]['image']} -> {image}"])
        for one in known["snapshots"]:
            words = restore.words(one["job"], {"snapshot": one["snapshot"], "copy": str(one["copy"])})
            fix = "; or put back the image alone with -e data=false"
            show(node["name"], self.answer(node, "plan", words, fix).splitlines())
        return {
            "image": image,
            "snapshots": known["snapshots"],
            "pins": pins.with_pins(options["pins"], new),
        }

    def _pin(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Have the image on the node, then write it down for this and all later runs."""
        image = "/".join(part for part in (options["mirror"].rstrip("/"), options["image"]) if part)
        answer = self.change({"verb": "pull", "images": [image]})
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
