"""The desired state as a playbook in the ordinary style: one task per file, apt, systemd, compose."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .desired import HOST_ROLE, PROJECT_ROLE, FileState, NodeState

Task = dict[str, Any]
# The order of site.yml.
TIERS = ("backend", "primary_ai", "secondary_ai", "edge", "gateway", "monitoring", "utility")
PROJECT_FOLDER = "/opt/aicluster"


def verbatim(text: str) -> str:
    """Return a template that renders to the text, whatever is in it."""
    return "{% raw %}" + text + "{% endraw %}"


def only_on(task: Task, hosts: Sequence[str], play: Sequence[str]) -> Task:
    """Return the task with a condition if not all hosts of its play have it."""
    return task if set(hosts) == set(play) else {**task, "when": f"inventory_hostname in {sorted(hosts)}"}


def file_task(file: FileState) -> Task:
    """Return the task that lays down one file."""
    module, suffix = ("template", ".j2") if file.template else ("copy", "")
    task: Task = {
        "name": f"Lay down {file.path}",
        f"ansible.builtin.{module}": {
            "src": f"{{{{ inventory_hostname }}}}{file.path}{suffix}",
            "dest": file.path,
            "owner": str(file.uid),
            "group": str(file.gid),
            "mode": file.mode,
        },
    }
    return {**task, "no_log": True} if file.secret else task


def directory_task(files: Iterable[FileState]) -> Task:
    """Return the task that makes the folders of the files; `copy` and `template` make none."""
    folders = {}
    for file in files:
        folder = PurePosixPath(file.path).parent
        private = folder.name == "secrets"
        owner = file.uid if private else 0
        folders[str(folder)] = {
            "path": str(folder),
            "mode": "0500" if private else "0755",
            "owner": str(owner),
        }
    return {
        "name": "Make the folders",
        "ansible.builtin.file": {
            "path": "{{ item.path }}",
            "state": "directory",
            "owner": "{{ item.owner }}",
            "mode": "{{ item.mode }}",
        },
        "loop": [folders[path] for path in sorted(folders)],
        "loop_control": {"label": "{{ item.path }}"},
    }


def role_tasks(role: str, nodes: Sequence[NodeState]) -> list[Task]:
    """Return the tasks of a role, for the nodes that have it."""
    hosts = [node.host for node in nodes]
    tasks: list[Task] = []
    if role == HOST_ROLE:
        for packages, where in grouped((list(node.packages), node.host) for node in nodes):
            task = {"name": "Install packages", "ansible.builtin.apt": {"name": packages, "state": "present"}}
            tasks.append(only_on(task, where, hosts))
    owned = [(file, node.host) for node in nodes for file in node.files if file.role == role]
    if owned:
        tasks.append(directory_task(file for file, _ in owned))
    for task, where in grouped((file_task(file), host) for file, host in owned):
        tasks.append(only_on(task, where, hosts))
    if role == HOST_ROLE:
        for unit, where in grouped((unit, node.host) for node in nodes for unit in node.units):
            arguments = {"name": unit, "enabled": True, "state": "started"}
            task = {"name": f"Enable and start {unit}", "ansible.builtin.systemd_service": arguments}
            tasks.append(only_on(task, where, hosts))
    if role == PROJECT_ROLE:
        arguments = {"project_src": PROJECT_FOLDER, "remove_orphans": True}
        up = {"name": "Bring up the project", "community.docker.docker_compose_v2": arguments}
        tasks.append(up)
        for subject, where in grouped((probe, node.host) for node in nodes for probe in node.probes.values()):
            ask = (
                {"ansible.builtin.uri": {"url": subject}}
                if "://" in subject
                else {"ansible.builtin.slurp": {"src": subject}}
            )
            tasks.append(only_on({"name": f"Ask {subject}", **ask}, where, hosts))
    return tasks


def grouped(pairs: Iterable[tuple[Any, str]]) -> list[tuple[Any, list[str]]]:
    """Return each different value with the hosts it holds for, in the order of appearance."""
    found: list[tuple[Any, list[str]]] = []
    for value, host in pairs:
        hosts = next((known for other, known in found if other == value), None)
        if hosts is None:
            found.append((value, [host]))
        else:
            hosts.append(host)
    return found


def plays(nodes: Sequence[NodeState]) -> list[dict[str, Any]]:
    """Return the plays: the foundation of all nodes side by side, then tier by tier."""
    found = [{"name": "Foundation", "hosts": "nodes", "roles": [HOST_ROLE]}]
    for tier in TIERS:
        services = list(
            dict.fromkeys(service for node in nodes if node.tier == tier for service in node.services)
        )
        if services:
            found.append({"name": f"Tier {tier}", "hosts": tier, "roles": [*services, PROJECT_ROLE]})
    return found


def write_playbook(nodes: Sequence[NodeState], folder: Path) -> Path:
    """Write playbook and roles below `folder`; return the playbook's path."""
    roles = {HOST_ROLE: list(nodes), PROJECT_ROLE: [node for node in nodes if node.services]}
    for service in dict.fromkeys(service for node in nodes for service in node.services):
        roles[service] = [node for node in nodes if service in node.services]
    for role, having in roles.items():
        _write_yaml(folder / "roles" / role / "tasks/main.yml", role_tasks(role, having))
        for node in having:
            for file in (file for file in node.files if file.role == role):
                content = Path(file.content).read_bytes()
                below = folder / "roles" / role / ("templates" if file.template else "files")
                source = below / node.host / file.path.lstrip("/")
                source.parent.mkdir(parents=True, exist_ok=True)
                if file.template:
                    source.with_name(f"{source.name}.j2").write_text(verbatim(content.decode()))
                else:
                    source.write_bytes(content)
    playbook = folder / "site.yml"
    _write_yaml(playbook, plays(nodes))
    return playbook


def _write_yaml(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=200))
