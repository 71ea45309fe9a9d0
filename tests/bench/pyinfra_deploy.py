"""The desired state of a node as a pyinfra deploy; it refuses a node on which it would change something."""

from typing import Any

from pyinfra import host
from pyinfra.api.exceptions import DeployError
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, systemd

node = host.data.node


def owner(item: dict[str, Any]) -> dict[str, Any]:
    """Return mode and owner; by name: pyinfra compares names, and a user of a container has none here."""
    return {key: item[key] for key in ("user", "group", "mode")}


operations = {"packages": apt.packages(packages=node["packages"])}
for file in node["files"]:
    path = file["path"]
    operations[path] = files.put(src=file["local"], dest=path, create_remote_dir=False, **owner(file))
for folder in node["folders"]:
    operations[folder["path"]] = files.directory(path=folder["path"], **owner(folder))
for unit in node["units"]:
    running = True if unit["runs"] else None
    operations[unit["name"]] = systemd.service(service=unit["name"], running=running, enabled=True)

changing = [subject for subject, operation in operations.items() if operation.will_change]
changing += [ask for ask, answer in node["asks"].items() if (host.get_fact(Command, ask) or "") != answer]
if changing:
    raise DeployError(f"not as wanted: {', '.join(changing)}")
