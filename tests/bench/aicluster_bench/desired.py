"""The desired state of every node, out of the engine itself, for others to check the same."""

import hashlib
import json
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INVENTORY = "lab"
# The engine's host roles and the project file itself: everything that is no service.
HOST_ROLE, PROJECT_ROLE = "host", "stack"


@dataclass(frozen=True)
class FileState:
    """A file on a node; `content` is its copy on the controller, `role` where it comes from."""

    path: str
    mode: str
    uid: int
    gid: int
    user: str
    group: str
    sha256: str
    role: str
    template: bool
    secret: bool
    content: str


@dataclass(frozen=True)
class NodeState:
    """Everything a run without changes has to look at on one node."""

    name: str
    host: str
    tier: str
    user: str
    key: str
    known_hosts: str
    services: tuple[str, ...]
    files: tuple[FileState, ...]
    packages: tuple[str, ...]
    units: tuple[str, ...]
    containers: dict[str, str]
    """Compose service -> digest its container carries."""
    probes: dict[str, str]
    """Service -> URL that answers on the node, or path of a file there."""
    asleep: tuple[str, ...] = ()
    """Compose services of modes the node is not in: made, but not running."""

    @property
    def ssh(self) -> list[str]:
        """The start of a command that runs something on this node."""
        options = [f"UserKnownHostsFile={self.known_hosts}", "BatchMode=yes", "ControlPath=none"]
        return [
            "ssh",
            *(part for option in options for part in ("-o", option)),
            "-i",
            self.key,
            f"{self.user}@{self.host}",
        ]


def on_node(node: NodeState, command: str) -> bytes:
    """Return what a command run as root prints; raises RuntimeError with its words when it fails."""
    done = subprocess.run([*node.ssh, f"sudo -n {command}"], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{node.name}: `{command[:60]}` ended with {done.returncode}: {done.stderr.decode().strip()}. "
            f"The lab must be in its desired state: run make lab first"
        )
    return done.stdout


def known_hosts_of(ssh_arguments: str) -> str:
    """Return the file named by `-o UserKnownHostsFile=` in the inventory's ssh arguments."""
    for word in shlex.split(ssh_arguments):
        if word.startswith("UserKnownHostsFile="):
            return word.partition("=")[2]
    return str(Path.home() / ".ssh/known_hosts")


def role_of(owner: str, services: Iterable[str]) -> str:
    """Return the role a file is laid down by in an ordinary playbook."""
    return owner if owner in {*services, PROJECT_ROLE} else HOST_ROLE


def export(folder: Path) -> list[NodeState]:
    """Render every node through the engine and write its files below `folder`; return the nodes.

    A file shared with others (daemon.json) is taken as it is on the node. Raises RuntimeError when the
    inventory cannot be resolved, or a node does not answer or lacks a file.
    """
    import render  # Ansible's libraries: slow to import
    from ansible.errors import AnsibleError

    try:
        hosts = render.site(INVENTORY).inventory.list_hosts("nodes")
        nodes = [_export_node(render, host, folder / host.name) for host in hosts]
    except AnsibleError as error:
        raise RuntimeError(f"the lab's inventory cannot be resolved ({error}); make lab first") from error
    (folder / "nodes.json").write_text(json.dumps([asdict(node) for node in nodes], indent=1))
    return nodes


def _export_node(render: Any, host: Any, folder: Path) -> NodeState:
    from ansible.template import Templar, trust_as_template

    site, engine = render.site(INVENTORY), render.engine()
    variables = site.variables.get_vars(host=host)
    templar = Templar(loader=site.loader, variables=variables)
    desired, _ = engine.desired_state(
        engine.Renderer(templar, site.loader, variables, render.ROLES), render.ROLES
    )

    def value(expression: str) -> Any:
        return templar.template(trust_as_template(f"{{{{ {expression} }}}}"))

    entry = value("cluster_node")
    bare = NodeState(
        name=str(entry["name"]),
        host=str(host.name),
        tier=str(entry["tier"]),
        user=str(value("ansible_user")),
        key=str(value("ansible_ssh_private_key_file")),
        known_hosts=known_hosts_of(str(value("ansible_ssh_common_args"))),
        services=tuple(str(name) for name in entry["services"]),
        files=(),
        packages=tuple(str(name) for name in desired.packages),
        units=tuple(str(unit["name"]) for unit in desired.units if not unit.get("boot")),
        containers={str(key): str(digest) for key, digest in desired.containers.items()},
        probes={str(key): str(url) for key, url in desired.probes.items()},
        asleep=tuple(name for name, modes in desired.container_modes.items() if desired.mode not in modes),
    )
    paths = shlex.join(file.path for file in desired.files)
    names = [line.split(" ") for line in on_node(bare, f"stat -c '%U %G' {paths}").decode().splitlines()]
    files = [
        _export_file(render.ROLES, bare, file, owner, folder)
        for file, owner in zip(desired.files, names, strict=True)
    ]
    return NodeState(**{**bare.__dict__, "files": tuple(files)})


def _export_file(roles: Path, node: NodeState, file: Any, names: list[str], folder: Path) -> FileState:
    content = on_node(node, f"cat {shlex.quote(file.path)}") if file.merge else file.content
    copy = folder / file.path.lstrip("/")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    return FileState(
        path=str(file.path),
        mode=str(file.mode),
        uid=file.uid,
        gid=file.gid,
        user=names[0],
        group=names[1],
        sha256=hashlib.sha256(content).hexdigest(),
        role=role_of(file.owner, node.services),
        template=(roles / file.owner / f"templates{file.path}.j2").is_file(),
        secret=file.secret,
        content=str(copy),
    )
