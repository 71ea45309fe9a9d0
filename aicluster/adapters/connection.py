"""What Ansible knows of its connection to a host."""

from collections.abc import Mapping
from typing import Any

from ansible import constants
from ansible.plugins.loader import connection_loader

from ..site import commands


def ssh_arguments(hostvars: Mapping[str, Any]) -> list[str]:
    """Return the arguments of ssh with which Ansible itself reaches a host, options and login."""
    connection_loader.get("ssh", class_only=True)  # makes its options known

    def option(name: str) -> tuple[object, str]:
        value, origin = constants.config.get_config_value_and_origin(
            name, plugin_type="connection", plugin_name="ssh", variables=hostvars
        )
        return value, origin

    return commands.ssh_arguments(option)
