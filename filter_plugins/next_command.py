# SPDX-License-Identifier: Apache-2.0
"""What a person types next: how to reach a node, how to run a playbook of this site.

Every message that names a command takes it from here, so that it runs as it is printed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants

ROOT = Path(__file__).resolve().parents[1]


def set_value(hostvars: Mapping[str, Any], *names: str) -> str:
    """Return the first of these variables that is set, "" without one."""
    values = (hostvars.get(name) for name in names)
    return next((str(value) for value in values if value not in (None, "")), "")


def ssh_command(hostvars: Mapping[str, Any]) -> str:
    """Return `ssh ...` with the user, host, port, key and options Ansible itself uses for this host.

    Of two names of one setting the ssh-specific one wins, as in Ansible's ssh plugin.
    """
    port = set_value(hostvars, "ansible_ssh_port", "ansible_port")
    key = set_value(hostvars, "ansible_ssh_private_key_file", "ansible_private_key_file")
    user = set_value(hostvars, "ansible_ssh_user", "ansible_user")
    host = set_value(hostvars, "ansible_ssh_host", "ansible_host", "inventory_hostname")
    options = [set_value(hostvars, f"ansible_ssh_{kind}_args") for kind in ("common", "extra")]
    words = [
        *(["-p", port] if port else []),
        *(["-i", str(Path(key).expanduser())] if key else []),
        *(word for text in options for word in shlex.split(text)),
    ]
    return shlex.join(["ssh", *words, f"{user}@{host}" if user else host])


def inventory_name(source: str) -> str:
    """Return the path of an inventory below the toolkit's root, or the source as it is."""
    path = Path(source).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else source


def ansible_command(sources: Sequence[str]) -> str:
    """Return `ansible-playbook`, with the inventories of this run where they are not those of ansible.cfg."""
    if list(sources) == list(constants.DEFAULT_HOST_LIST):
        return "ansible-playbook"
    named = [word for source in sources for word in ("-i", inventory_name(source))]
    return shlex.join(["ansible-playbook", *named])


class FilterModule:
    """Ansible's entry point to this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {"ansible_command": ansible_command, "ssh_command": ssh_command}
