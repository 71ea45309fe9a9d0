"""Values of an inventory as Ansible resolves them: templates, precedence and filters included."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import LabError


def environment(root: Path) -> dict[str, str]:
    """The environment of a plain user's command: this project's ansible.cfg and package, nothing inherited.

    A copy of a project has no .venv of its own, and the other's names that one's package.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    own = {"ANSIBLE_CONFIG": str(root / "ansible.cfg"), "PYTHONPATH": str(root)}
    return kept | own | {"ANSIBLE_NOCOLOR": "1"}


def ask(root: Path, inventory: Sequence[str], pattern: str, expression: str) -> list[Any]:
    """Return the value of a Jinja expression on each host of a pattern.

    `inventory` are the arguments that name it, `-i <source>` each. Raises LabError with Ansible's own words
    when the inventory cannot be read.
    """
    as_json = {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    arguments = json.dumps({"msg": f"{{{{ {expression} }}}}"})
    ansible = str(root / ".venv" / "bin" / "ansible")
    asked = subprocess.run(
        [ansible, *inventory, pattern, "-m", "ansible.builtin.debug", "-a", arguments],
        cwd=root, env=environment(root) | as_json, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if asked.returncode:
        raise LabError(f"The inventory {' '.join(inventory)} cannot be read:\n{asked.stdout}{asked.stderr}")
    hosts = json.loads(asked.stdout)["plays"][0]["tasks"][0]["hosts"]
    return [answer["msg"] for answer in hosts.values()]
