"""The running site as tests see it: nodes and services from the inventory, a shell on each node."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import aicluster_lab.ask
from aicluster_lab.ask import environment
from aicluster_lab.sitedata import INVENTORY
from tree import ROOT, load

from aicluster.site.replication import is_standby

# What of a node's containers one asks on it.
COMPOSE = "docker compose --project-directory /opt/aicluster"


@dataclass(frozen=True)
class Node:
    """A node as the inventory describes it; `entry` is its element of `cluster_nodes`.

    `name` is for people, e.g. PI51; `services`: service name -> merged catalogue entry.
    """

    entry: dict[str, Any]
    name: str
    address: str
    services: dict[str, Any]
    groups: frozenset[str]
    user: str
    key: str
    ssh_args: str
    ssh: str

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def containers(self) -> dict[str, Any]:
        """The services that run in a container; the others are run by the host itself."""
        return {name: entry for name, entry in self.services.items() if entry["image"]}

    @property
    def inactive(self) -> set[str]:
        """The services of the profiles that are inactive on a new node."""
        profiles, first = self.entry["profiles"], self.entry["profile"]
        active = set(profiles.get(first, ()))
        return {name for names in profiles.values() for name in names} - active

    def port(self, service: str, name: str) -> int:
        return int(self.services[service]["ports"][name]["port"])


def ask(pattern: str, expression: str) -> list[Any]:
    """The value of a Jinja expression on each host of a pattern, as Ansible resolves it."""
    return aicluster_lab.ask.ask(ROOT, INVENTORY, pattern, expression)


_NODE = (
    "{'entry': cluster_node, 'name': cluster_node.name, 'address': cluster_node.address,"
    " 'services': cluster_node.services, 'groups': group_names, 'user': cluster_login, 'ssh': cluster_ssh,"
    " 'key': ansible_ssh_private_key_file | default(''),"
    " 'ssh_args': ansible_ssh_common_args | default('')}"
)


@cache
def nodes() -> tuple[Node, ...]:
    found = [Node(**{**item, "groups": frozenset(item["groups"])}) for item in ask("nodes", _NODE)]
    return tuple(sorted(found, key=lambda node: node.name))


def looked_at() -> list[Node]:
    """The nodes of the tier whose molecule scenario runs, else all."""
    tier = os.environ.get("MOLECULE_SCENARIO_NAME", "").replace("-", "_")
    return [node for node in nodes() if tier in node.groups] or list(nodes())


def node(name: str) -> Node:
    return next(node for node in nodes() if node.name == name)


def running(service: str) -> list[Node]:
    """The nodes a service is placed on; a standby comes last."""
    found = [node for node in nodes() if service in node.services]
    return sorted(found, key=lambda node: is_standby(node.services[service]))


@cache
def variable(node: Node, expression: str) -> Any:
    return ask(str(node.entry["host"]), expression)[0]


def setting(node: Node, role: str, name: str) -> Any:
    """The value of a role's variable on one node: what the inventory says, else the role's default."""
    default = load(f"roles/{role}/defaults/main.yml")[name]
    return variable(node, f"{name} | default({default!r})")


@cache
def secrets() -> dict[str, str]:
    found: dict[str, str] = ask(str(nodes()[0].entry["host"]), "site_secrets")[0]
    return {name: str(value) for name, value in found.items()}


# One connection for the commands of a minute; a node without power is given up before it is back.
SHARED = {
    "BatchMode": "yes", "ConnectTimeout": 10, "ServerAliveInterval": 2, "ServerAliveCountMax": 2,
    "ControlMaster": "auto", "ControlPath": f"{gettempdir()}/aicluster-%C", "ControlPersist": 60,
}  # fmt: skip


def as_root(node: Node) -> list[str]:
    """The beginning of a command line that runs what follows as root on a node."""
    ssh, *words = shlex.split(node.ssh)
    options = [word for name, value in SHARED.items() for word in ("-o", f"{name}={value}")]
    return [ssh, *options, *words, "sudo"]


def shell(node: Node, command: str) -> str:
    """What a command run as root on a node prints; raises RuntimeError when it fails."""
    # What a login shell of the node says comes before this line.
    begins = "--- the command says:"
    ran = subprocess.run(
        [*as_root(node), "sh", "-c", shlex.quote(f"echo {shlex.quote(begins)}\n{command}")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{node.name}: {command}: exit code {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout.partition(f"{begins}\n")[2]


def told(node: Node, command: str) -> Any:
    """The JSON that a command run as root on a node prints."""
    return json.loads(shell(node, command))


def wait_until(happened: Callable[[], object], within_s: float, late: str, pause_s: float = 1) -> None:
    """Ask again and again; AssertionError that says what is late."""
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, late
        time.sleep(pause_s)


@contextmanager
def stopped(service: str, *nodes: Node, verb: str = "stop") -> Iterator[None]:
    """A service that is away on these nodes, and back and healthy afterwards; `verb`: stop or kill."""
    for node in nodes:
        shell(node, f"{COMPOSE} {verb} {service}")
    try:
        yield
    finally:
        for node in nodes:
            shell(node, f"{COMPOSE} up --detach --wait {service}")


@contextmanager
def opened(node: Node, port: int) -> Iterator[None]:
    """A node whose firewall lets everybody in to a port, for what a test runs or asks there."""
    shell(node, f"nft insert rule inet aicluster reach tcp dport {port} accept")
    try:
        yield
    finally:
        shell(node, "nft --file /etc/aicluster/firewall.nft")


# What a run may touch: files with owner and mode, what the engine remembers, containers, images, packages.
FINGERPRINT = (
    "find /opt/aicluster /etc/docker /etc/systemd/system /var/lib/aicluster -type f -printf '%p %m %U:%G ' "
    "-exec sha256sum {} \\; | sort; docker ps --all --no-trunc --format '{{.ID}} {{.State}}' | sort; "
    "docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort; "
    "dpkg-query -W -f '${Package} ${Version}\\n'"
)


def fingerprint(node: Node) -> str:
    return shell(node, FINGERPRINT)


def program(name: str, *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `bin/<name> --json` of a project to its end."""
    return subprocess.run(
        [f"{root}/bin/{name}", "--json", *INVENTORY, *arguments],
        cwd=root, env=environment(root), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    code: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """Host -> number of changed tasks, from the recap."""
        found = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", self.output, re.MULTILINE)
        return {host: int(count) for host, count in found if host != "localhost"}

    def succeeded(self) -> "Run":
        """Return this run; AssertionError with its output if it failed."""
        assert self.code == 0, self.output
        return self


def begin(name: str, *arguments: str, root: Path = ROOT, own_group: bool = False) -> subprocess.Popen[str]:
    """Begin a run of a playbook; with `own_group` for a test that ends it with all its children."""
    return subprocess.Popen(
        ["ansible-playbook", *INVENTORY, name, *arguments],
        cwd=root,
        env=environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=own_group,
    )


def inventory_layer(folder: Path, variables: Mapping[Node, Mapping[str, Any]]) -> tuple[str, str]:
    """Write an inventory in which nodes have other variables; the arguments that lay it over the site's."""
    hosts = {node.entry["host"]: values for node, values in variables.items()}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    return "-i", str(folder)


def users_layer(folder: Path, keys: Mapping[str, str], *users: Mapping[str, Any]) -> tuple[str, str]:
    """Write other users and their keys (name -> key) to a file; the arguments that bring them."""
    added = {f"user_{name}/main": key for name, key in keys.items()}
    file = folder / "users.json"
    file.write_text(json.dumps({"site_users": users, "site_secrets": secrets() | added}))
    return "-e", f"@{file}"


def run_playbook(name: str, *arguments: str, root: Path = ROOT) -> Run:
    with begin(name, *arguments, root=root) as run:
        output, _ = run.communicate()
    return Run(run.returncode, output)


def run_confirmed(name: str, *arguments: str, root: Path = ROOT) -> Run:
    """Run a playbook that asks for the name of the site."""
    return run_playbook(name, "-e", f"confirm={variable(nodes()[0], 'site_name')}", *arguments, root=root)


def run_site(*arguments: str) -> Run:
    return run_playbook("site.yml", *arguments)
