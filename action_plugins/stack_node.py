# SPDX-License-Identifier: Apache-2.0
"""The controller's half of the engine: desired state -> one question per node -> plan -> one archive.

`phase: plan` renders everything the node should hold, asks the node once, returns what differs, and fails
with whatever stands in the way there. `phase: take` holds the node for this run. `phase: note` writes down
what packages a run adds. `phase: fetch` pulls the images that are missing. `phase: ship` renders again and
sends only the files the plan names, `phase: reacted` notes that what reads them was restarted. `phase:
commit` asks once more and fails if anything still differs; it ends the hold, as `phase: release` does.
`phase: leave` gives shared files back. The node's half is library/stack_node.py; docs/explain/engine.md tells
why.
"""

from __future__ import annotations

import base64
import difflib
import fnmatch
import getpass
import hashlib
import io
import json
import multiprocessing
import os
import re
import shlex
import socket
import subprocess
import tarfile
from collections import ChainMap
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display

from aicluster.preflight.node import node_complaints
from aicluster.site.addresses import listens_on
from aicluster.site.nodes import modes_of
from aicluster.site.vocabulary import YAML_LOADER
from aicluster.toolkit.files import LEFTOVERS

STACK_ROOT = "/opt/aicluster"
HOST_ROLES = ("base", "docker_engine")
# Stands for the digest while templates are rendered: a file cannot contain its own hash.
DIGEST_TOKEN = "@stack-digest@"
# The same of the files a container reads again while it runs: a program can say which of them it has loaded.
RELOAD_TOKEN = "@stack-reload-digest@"
DIGEST_LABEL = "aicluster.digest"
ENGINE_ROLE, ENGINE_UNIT = "docker_engine", "docker"
# What a change of a service's file means for its containers; the first where a rule says nothing.
CHANGES = ("recreate", "reload", "none")
CONTAINER_RELOAD, CONTAINER_RECREATE = "reload container", "recreate container"
# A container in one of these deviations is made by `up`, and reads its files then.
MADE_BY_UP = ("missing", "changed")
# Keys of `__<role>_state`, and of what is below each of them.
STATE_KEYS = (
    "containers", "engine", "files", "packages", "probe", "provision_inputs", "provision_last",
    "provision_when", "units",
)  # fmt: skip
INNER_KEYS = {
    "containers": ("check", "confirm", "reload"),
    "files": ("accept", "change", "keys_only", "merge", "mode", "reload", "restart", "validate"),
    "units": ("boot", "enabled", "name", "waits"),
}
PROBE_KEYS = ("file", "url")
# Variables of the role stack that say what disk and memory a node must have.
SETTINGS = ("stack_disk_floor_mb", "stack_disk_budget", "stack_memory_budget")


@dataclass(frozen=True)
class File:
    """One file of the desired state; `mode` in octal digits as `0644`, `owner` is the role it comes from.

    With `merge` the content is our part of a JSON object that others write to as well. `accept`: other
    contents that are as right as this one, because the node chooses among them. `change`: one of CHANGES.
    """

    path: str
    content: bytes
    owner: str
    mode: str = "0644"
    uid: int = 0
    gid: int = 0
    merge: bool = False
    accept: tuple[str, ...] = ()
    change: str = CHANGES[0]

    @property
    def secret(self) -> bool:
        """A path with a component `secrets` never shows its content."""
        return "secrets" in Path(self.path).parts

    @property
    def fragment(self) -> dict[str, Any] | None:
        """Our part of a shared JSON file."""
        return dict(json.loads(self.content)) if self.merge else None

    @property
    def sha256(self) -> str:
        """Hex digest of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def question(self) -> dict[str, Any]:
        """Return what the node is asked about the file."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "accept": [hashlib.sha256(text.encode()).hexdigest() for text in self.accept],
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "text": not self.secret,
            "fragment": self.fragment,
        }


@dataclass
class Desired:
    """Desired state of one node; see the module's options for the shapes."""

    files: list[File] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    containers: dict[str, str] = field(default_factory=dict)
    container_owner: dict[str, str] = field(default_factory=dict)
    container_modes: dict[str, list[str]] = field(default_factory=dict)
    # What checks the files of a container, and how it reads them again: `check`, `reload`, `confirm`.
    programs: dict[str, dict[str, str]] = field(default_factory=dict)
    mode: str | None = None
    # Image of each container, and the volumes a service keeps data in.
    images: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, list[str]] = field(default_factory=dict)
    # What the node must have below them; see `limits_of`.
    limits: dict[str, Any] = field(default_factory=dict)
    probes: dict[str, str] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    provision_inputs: dict[str, str] = field(default_factory=dict)
    provision_when: dict[str, str] = field(default_factory=dict)
    provision_last: set[str] = field(default_factory=set)


# ---------------------------------------------------------------- pure functions


def digest_of(files: Iterable[File]) -> str:
    """Digest of a service: path, mode, owner and content of each of its files (first 16 hex digits)."""
    lines = [f"{f.path} {f.mode} {f.uid}:{f.gid} {f.sha256}" for f in sorted(files, key=lambda f: f.path)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def seal(files: Sequence[File], service: str) -> tuple[list[File], str]:
    """Put digests of a service's project files in the place of the tokens; return files and the first digest.

    It is that of the files a running container cannot read again.
    """
    own = [f for f in files if f.path.startswith(f"{STACK_ROOT}/{service}/")]
    digest = digest_of(f for f in own if f.change == "recreate")
    loaded = digest_of(f for f in own if f.change == "reload")

    def sealed(content: bytes) -> bytes:
        content = content.replace(DIGEST_TOKEN.encode(), digest.encode())
        return content.replace(RELOAD_TOKEN.encode(), loaded.encode())

    return [replace(f, content=sealed(f.content)) for f in files], digest


def published_ports(ports: Mapping[str, Mapping[str, Any]], address: str) -> list[str]:
    """Compose port lines; a port nobody may reach is not published, `localhost` binds to loopback."""
    lines = []
    for port in ports.values():
        if host := listens_on(port, address):
            lines.append(f"{host}:{port['port']}:{port.get('container', port['port'])}")
    return lines


def container_baseline(
    name: str, entry: Mapping[str, Any], node: Mapping[str, Any], mirror: str
) -> dict[str, Any]:
    """Compose keys every service's main container starts from; a service's own keys override them."""
    image = f"{mirror.rstrip('/')}/{entry['image']}" if mirror else str(entry["image"])
    baseline: dict[str, Any] = {
        "image": image,
        "restart": "unless-stopped",
        "labels": {"aicluster.service": name, DIGEST_LABEL: DIGEST_TOKEN},
        "security_opt": ["no-new-privileges:true"],
        "cap_drop": ["ALL"],
        "read_only": True,
        "tmpfs": ["/tmp:rw,noexec,nosuid,size=64m"],
        "pids_limit": 256,
        "mem_limit": f"{entry['memory_mb']}m",
        "memswap_limit": f"{entry['memory_mb']}m",
        "logging": {"driver": "journald", "options": {"tag": "{{.Name}}"}},
    }
    if health := entry.get("health"):
        baseline["healthcheck"] = {
            "test": list(health["test"]),
            "interval": f"{health['interval_s']}s",
            "timeout": f"{health['timeout_s']}s",
            "retries": health["retries"],
            "start_period": f"{health['start_s']}s",
        }
        if node["health_start_interval_s"]:
            baseline["healthcheck"]["start_interval"] = f"{node['health_start_interval_s']}s"
    if ports := published_ports(entry.get("ports", {}), node["address"]):
        baseline["ports"] = ports
    if modes := modes_of(name, node):
        baseline["profiles"] = modes
    return baseline


def rule_for(path: str, rules: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the rule of the first pattern that matches the path."""
    return next((rule for pattern, rule in rules.items() if fnmatch.fnmatch(path, pattern)), {})


def apply_rule(file: File, rule: Mapping[str, Any]) -> File:
    """Return the file with the mode and the way of writing its rule asks for."""
    return replace(
        file,
        mode=rule.get("mode", file.mode),
        merge=rule.get("merge") == "json",
        accept=tuple(rule.get("accept", ())),
        change=rule.get("change", CHANGES[0]),
    )


def reactions_of(rule: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the pairs (verb, unit or container) of a rule; each verb names one or a list of them."""
    named = {verb: rule.get(verb, []) for verb in ("restart", "reload", CONTAINER_RELOAD)}
    listed = {verb: [units] if isinstance(units, str) else units for verb, units in named.items()}
    return {(verb, unit) for verb, units in listed.items() for unit in units}


def reactions_to(paths: Iterable[str], rules: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the pairs (verb, unit or container) that a change of these files calls for."""
    return {pair for path in paths for pair in reactions_of(rule_for(path, rules))}


def locks_out(paths: Iterable[str], rules: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a change of one of these files lets nobody in who has no key."""
    return any(rule_for(path, rules).get("keys_only") for path in paths)


def key_login(options: Callable[[str], Any]) -> list[str]:
    """Return the ssh command that logs in as Ansible does, by key alone and over a connection of its own.

    `options`: those of Ansible's connection plugin `ssh`. Of an option given twice ssh takes the first.
    """
    settings = {
        "ControlPath": "none",
        "BatchMode": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictHostKeyChecking": "no" if options("host_key_checking") is False else None,
        "Port": options("port"),
        "IdentityFile": options("private_key_file"),
        "User": options("remote_user"),
        "ConnectTimeout": options("timeout"),
    }
    first = [word for name, value in settings.items() if value for word in ("-o", f'{name}="{value}"')]
    texts = [options(name) or "" for name in ("ssh_args", "ssh_common_args", "ssh_extra_args")]
    more = [word for text in texts for word in shlex.split(text)]
    return [options("ssh_executable"), *first, *more, options("host"), "true"]


# ---------------------------------------------------------------- what a change means for a container


def refuse_unknown(where: str, keys: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise AnsibleActionFail for the first key that does not exist, with the one that was probably meant."""
    for key in keys:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise AnsibleActionFail(
                f"{where} has the unknown key {key}; allowed: {', '.join(allowed)}{meant}"
            )


def check_state(role: str, state: Mapping[str, Any]) -> None:
    """Raise AnsibleActionFail for what `__<role>_state` says and nobody would hear."""
    name = f"role {role}: __{role}_state"
    refuse_unknown(name, state, STATE_KEYS)
    refuse_unknown(f"{name}.probe", state.get("probe", {}), PROBE_KEYS)
    for unit in state.get("units", []):
        refuse_unknown(f"{name}.units, {unit.get('name')},", unit, INNER_KEYS["units"])
    for part in ("files", "containers"):
        for item, said in state.get(part, {}).items():
            refuse_unknown(f"{name}.{part}, {item},", said, INNER_KEYS[part])
    containers: Mapping[str, Any] = state.get("containers", {})
    for container, programs in containers.items():
        if ("reload" in programs) != ("confirm" in programs):
            raise AnsibleActionFail(f"{name}.containers, {container}, must have reload and confirm, or none")
    for pattern, rule in state.get("files", {}).items():
        where = f"{name}.files, {pattern},"
        for key, allowed in (("change", CHANGES), ("merge", ("json",))):
            if rule.get(key, allowed[0]) not in allowed:
                raise AnsibleActionFail(f"{where} has {key} {rule[key]!r}: must be {' or '.join(allowed)}")
        mode = rule.get("mode", "0644")
        if not (isinstance(mode, str) and re.fullmatch(r"[0-7]{4}", mode)):
            raise AnsibleActionFail(
                f'{where} has mode {mode!r}: must be four octal digits in quotes, as "0600"'
            )
        if rule.get("change") == "reload" and not any(
            "reload" in programs for programs in containers.values()
        ):
            raise AnsibleActionFail(f"{where} has change reload, but no container has a reload")


def rules_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a role's rules for files; of those that mean a reload, with the containers it is for."""
    reloading = [name for name, programs in state.get("containers", {}).items() if "reload" in programs]
    return {
        pattern: {**rule, CONTAINER_RELOAD: reloading} if rule.get("change") == "reload" else dict(rule)
        for pattern, rule in state.get("files", {}).items()
    }


def checks_for(desired: Desired, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return container -> {command, files}: who has to accept which of the files that are about to change."""
    read = [path for path in paths if rule_for(path, desired.rules).get("change") != "none"]
    found = {
        container: [path for path in read if path.startswith(f"{STACK_ROOT}/{owner}/")]
        for container, owner in desired.container_owner.items()
    }
    checked = {name: programs["check"] for name, programs in desired.programs.items() if "check" in programs}
    return {name: {"command": checked[name], "files": found[name]} for name in checked if found[name]}


def made_by_up(actual: Mapping[str, Any]) -> set[str]:
    """Return the containers that `up` will make, whatever else is due."""
    return {item["service"] for item in actual["containers"] if item["why"] in MADE_BY_UP}


def to_recreate(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the containers that started with a file somebody had changed: only their label is as wanted."""
    edited = [
        item["path"]
        for item in actual["differing"]
        if item["reason"] == "content"
        and rule_for(item["path"], desired.rules).get("change", CHANGES[0]) == CHANGES[0]
    ]
    owed = {name for verb, name in actual["pending"] if verb == CONTAINER_RECREATE}
    readers = {
        container
        for container, owner in desired.container_owner.items()
        if container in owed or any(path.startswith(f"{STACK_ROOT}/{owner}/") for path in edited)
    }
    return sorted(readers - made_by_up(actual) - set(actual["asleep"]))


def reloads_due(
    desired: Desired, actual: Mapping[str, Any], names: Iterable[str], changed: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what `stack_reload` has to do; a container that is made in this run reads its files then."""
    made = made_by_up(actual) | set(to_recreate(desired, actual))
    return [
        {
            "service": name,
            "command": desired.programs[name]["reload"],
            "confirm": desired.programs[name]["confirm"],
            "files": [
                path for path in changed if (CONTAINER_RELOAD, name) in reactions_to([path], desired.rules)
            ],
        }
        for name in names
        if name not in made and name not in actual["asleep"]
    ]


def masked(message: str, secrets: Mapping[str, Any]) -> str:
    """Return a message without the values of secrets: a checker may quote what it does not understand."""
    for secret in sorted(map(str, secrets.values()), key=len, reverse=True):
        message = message.replace(secret, "********") if secret else message
    return message


def pack(files: Iterable[File]) -> str:
    """Return a base64 tar.gz of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode = len(file.content), int(file.mode, 8)
            member.uid, member.gid = file.uid, file.gid
            tar.addfile(member, io.BytesIO(file.content))
    return base64.b64encode(buffer.getvalue()).decode()


def text_of(file: File) -> str | None:
    """Text to show in a diff; None for secrets and for what is not text."""
    if file.secret:
        return None
    try:
        return file.content.decode()
    except UnicodeDecodeError:
        return None


def file_diffs(
    files: Iterable[File], differing: Iterable[Mapping[str, Any]], removed: Iterable[str] = ()
) -> list[dict[str, str]]:
    """Return Ansible diffs of the differing files; of a secret only that it changed."""
    by_path = {file.path: file for file in files}
    diffs = [{"prepared": f"{path}: removed\n"} for path in removed]
    for item in differing:
        path = str(item["path"])
        file, before = by_path[path], item.get("before")
        after = item.get("after", text_of(file))
        if after is None or (before is None and item["reason"] == "content"):
            diffs.append({"prepared": f"{path}: content changes and is not shown\n"})
        elif before is None:
            diffs.append({"prepared": f"{path}: {item['reason']} -> {file.mode} {file.uid}:{file.gid}\n"})
        else:
            header = "/dev/null" if item["reason"] == "missing" else path
            diffs.append(
                {"before_header": header, "after_header": path, "before": str(before), "after": after}
            )
    return diffs


def asleep_services(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the services of modes the node is not in: they cannot be provisioned before they wake."""
    return sorted({desired.container_owner[container] for container in actual["asleep"]})


def services_to_provision(
    desired: Desired, actual: Mapping[str, Any], wanted_by_probe: Mapping[str, bool]
) -> list[str]:
    """Return services whose provisioning has work: new container, new inputs, or the probe says so.

    Those that need another node come last: where it is away, all else on this node is done.
    """
    new = [item["service"] for item in actual["containers"] if item["why"] in ("missing", "changed")]
    touched = {desired.container_owner[service] for service in new}
    asleep = asleep_services(desired, actual)
    wanted = [
        service
        for service, inputs in desired.provision_inputs.items()
        if service not in asleep
        and (
            service in touched
            or actual["provisioned"].get(service) != inputs
            or wanted_by_probe.get(service, False)
        )
    ]
    return sorted(wanted, key=lambda service: service in desired.provision_last)


def engine_question(desired: Desired) -> dict[str, Any]:
    """Return what must be as wanted before the engine is asked for images: its files, packages and unit.

    With it the programs of its runtimes; one without a path is known to the engine by its type.
    """
    runtimes = desired.limits.get("engine", {}).get("runtimes", {})
    return {
        "files": [file.path for file in desired.files if file.owner == ENGINE_ROLE],
        "packages": desired.limits.get("engine_packages", []),
        "unit": ENGINE_UNIT,
        "programs": sorted({runtime["path"] for runtime in runtimes.values() if "path" in runtime}),
    }


def split(lay: dict[str, Any], engine: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide what has to be laid into the engine's part and the rest; packages go before both."""
    first: dict[str, Any] = {
        "repair": [],
        "packages": [],
        "files": [path for path in lay["files"] if path in engine["files"]],
        "remove": [],
        "reactions": [pair for pair in lay["reactions"] if pair[1] == engine["unit"]],
        "units": [unit for unit in lay["units"] if unit["name"] == engine["unit"]],
        "daemon_reload": False,
    }
    parted = ("files", "reactions", "units")
    return first, {**lay, **{key: [one for one in lay[key] if one not in first[key]] for key in parted}}


def new_services(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the services of which a node has nothing yet: no file, no container, no volume."""
    missing = {str(item["path"]) for item in actual["differing"] if item["reason"] == "missing"}
    there = {file.owner for file in desired.files if file.path not in missing}
    without = {item["service"] for item in actual["containers"] if item["why"] == "missing"}
    there |= {owner for container, owner in desired.container_owner.items() if container not in without}
    volumes = set(actual["obstacles"]["volumes"])
    there |= {service for service, names in desired.volumes.items() if volumes & set(names)}
    return [service for service in desired.limits.get("disk_gb", {}) if service not in there]


def wanted_of(desired: Desired, actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `node_complaints` compares a node with."""
    limits, missing = desired.limits, set(actual["packages"])
    images: dict[str, list[str]] = {}
    for container, image in desired.images.items():
        images.setdefault(image, []).append(desired.container_owner[container])
    coming = {
        "engine": limits["engine"]["packages"].get("engine") in missing,
        # The plugin works with the client, which is a package of its own.
        "compose": bool(missing & set(limits["engine_packages"])),
    }
    return {
        "containers": bool(desired.containers),
        "engine": {**limits["engine"], "coming": coming},
        "disk_floor_mb": limits["disk_floor_mb"],
        "disk_budget": limits["disk_budget"],
        "disk_reserved_gb": limits["disk_reserved_gb"],
        "coming_gb": {service: limits["disk_gb"][service] for service in new_services(desired, actual)},
        "architecture": limits["architecture"],
        "memory_mb": limits["memory_mb"],
        "packages": sorted(missing),
        "images": images,
    }


def found_of(actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts `node_complaints` judges."""
    found = actual["obstacles"]
    unit = next((unit["why"] for unit in actual["units"] if unit["name"] == ENGINE_UNIT), "")
    absent = not found["engine"]["api"] and unit.startswith("not there")
    return {**found, "engine": {**found["engine"], "absent": absent}}


def silent(actual: Mapping[str, Any]) -> bool:
    """Whether an engine that shall hold containers is there and does not answer: it need not be empty."""
    engine = found_of(actual)["engine"]
    return bool(actual["containers"]) and not engine["api"] and not engine["absent"]


def to_note(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the packages and repository files a run is about to add, its engine's repository included."""
    engine = plan["wanted"]["engine"]
    repository = engine["repository"] if any(engine["coming"].values()) else {"packages": [], "files": []}
    return {
        "packages": [*plan["lay"]["packages"], *repository["packages"]],
        "sources": list(repository["files"]),
    }


def report(node: str, complaints: Sequence[str], kept: str) -> str:
    """Return the message of a refused node; `kept` says what was not changed."""
    lines = [f"{number:>3}. {complaint}" for number, complaint in enumerate(complaints, start=1)]
    count = "1 thing stands" if len(lines) == 1 else f"{len(lines)} things stand"
    return "\n".join([f"{node}: {count} in the way; {kept}.", *lines])


def make_plan(
    desired: Desired, actual: Mapping[str, Any], wanted_by_probe: Mapping[str, bool]
) -> dict[str, Any]:
    """Return what has to happen on a node, in the two halves the playbooks run.

    `lay` is done on all nodes side by side (packages, files, units), `raise` tier by tier (containers,
    provisioning). `lines` says the same for people, one difference a line.
    """
    paths = [str(item["path"]) for item in actual["differing"]]
    changed = [*paths, *actual["leftover"]]
    # What an interrupted run owes, but to a unit whose service has left since.
    known = {pair for rule in desired.rules.values() for pair in reactions_of(rule)}
    owed = known & {(verb, unit) for verb, unit in actual["pending"]}
    called_for = sorted(reactions_to(changed, desired.rules) | owed)
    reactions = [pair for pair in called_for if pair[0] != CONTAINER_RELOAD]
    reloading = [pair[1] for pair in called_for if pair[0] == CONTAINER_RELOAD]
    reloads = reloads_due(desired, actual, reloading, changed)
    recreating = to_recreate(desired, actual)
    lay = {
        "packages": list(actual["packages"]),
        "files": paths,
        "remove": list(actual["leftover"]),
        "reactions": [list(pair) for pair in reactions],
        "units": unit_states(desired.units, {item["name"] for item in actual["units"]}, reactions),
        # A run that was interrupted may have stopped before systemd read what it had laid down.
        "daemon_reload": bool(owed & set(reactions))
        or any(path.startswith("/etc/systemd/system/") for path in changed),
    }
    provision = services_to_provision(desired, actual, wanted_by_probe)
    raising = {
        "containers": [item["service"] for item in actual["containers"]],
        "orphans": list(actual["orphans"]),
        # Containers of other modes: those to make without starting them, those that run all the same.
        "sleepers": [item["service"] for item in actual["containers"] if item["service"] in actual["asleep"]],
        "restless": list(actual["restless"]),
        "recreate": recreating,
        "reloads": reloads,
        "provision": provision,
        "empty": not desired.containers,
        # Health checks begin anew with the engine: wait for them before anything is called well.
        "settle": bool(desired.containers) and ("restart", ENGINE_UNIT) in reactions,
    }
    lay_needed = any(bool(part) for part in lay.values())
    # What dpkg left behind is mended beside other work. Alone it is none: ours would be among the packages.
    actual = {**actual, "unfinished": actual["unfinished"] if lay_needed else []}
    lay["repair"] = [item["name"] for item in actual["unfinished"]]
    unknown = set(desired.container_owner.values()) if silent(actual) else set()
    # The engine as it shall be comes first where it has to fetch something.
    images = list(actual["obstacles"]["images"])
    first, rest = split(lay, engine_question(desired)) if images else split(lay, {"files": [], "unit": None})
    return {
        "facts": dict(actual["facts"]),
        "lay": rest,
        "engine": first,
        "images": images,
        # What the node owes its containers from the moment its files move.
        "owed": [
            *([CONTAINER_RELOAD, name] for name in reloading),
            *([CONTAINER_RECREATE, name] for name in recreating),
        ],
        "lay_needed": lay_needed or bool(images),
        "raise": raising,
        "raise_needed": any(
            raising[part]
            for part in ("containers", "orphans", "restless", "recreate", "reloads", "settle", "provision")
        ),
        "asleep": asleep_services(desired, actual),
        "lines": plan_lines(
            actual,
            [
                *reactions,
                *((CONTAINER_RECREATE, name) for name in recreating),
                *((CONTAINER_RELOAD, reload["service"]) for reload in reloads),
            ],
            [service for service in provision if service not in unknown],
        ),
        "complaints": [],
    }


def unit_states(
    wanted: Iterable[Mapping[str, Any]], deviating: Container[str], reactions: Iterable[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return what to ask of systemd, a unit at a time: {name, enabled, state}; the latter two where due.

    A restart or reload also starts what does not run.
    """
    # Sorted: a unit that is to be reloaded and restarted is restarted.
    states: dict[str, dict[str, Any]] = {
        unit: {"name": unit, "state": verb + "ed"} for verb, unit in sorted(reactions)
    }
    for unit in wanted:
        if unit["name"] in deviating:
            state = states.setdefault(unit["name"], {"name": unit["name"]})
            state["enabled"] = unit.get("enabled", True)
            if not unit.get("boot"):
                state.setdefault("state", "started")
    return list(states.values())


def plan_lines(
    actual: Mapping[str, Any], reactions: Iterable[tuple[str, ...]], provision: Iterable[str]
) -> list[str]:
    """Return the plan for people: `+` create, `~` change, `-` remove."""
    lines = [f"~ package {item['name']} ({item['why']})" for item in actual["unfinished"]]
    half = [item["name"] for item in actual["unfinished"]]
    lines += [f"+ package {name}" for name in actual["packages"] if name not in half]
    for item in actual["differing"]:
        sign, why = ("+", "") if item["reason"] == "missing" else ("~", f" ({item['reason']})")
        lines.append(f"{sign} file {item['path']}{why}")
    lines += [f"- file {path}" for path in actual["leftover"]]
    lines += [f"~ unit {item['name']} ({item['why']})" for item in actual["units"]]
    lines += [f"~ {verb} {unit}" for verb, unit in reactions]
    lines += container_lines(actual)
    lines += [f"~ provision {service}" for service in provision]
    return lines


def container_lines(actual: Mapping[str, Any]) -> list[str]:
    """Return what a plan says of images and containers."""
    if silent(actual):
        return ["~ images and containers (unknown until docker runs)"]
    lines = [f"+ image {image}" for image in actual["obstacles"]["images"]]
    for item in actual["containers"]:
        sign, why = ("+", "") if item["why"] == "missing" else ("~", f" ({item['why']})")
        lines.append(f"{sign} container {item['service']}{why}")
    lines += [f"- container {name}" for name in actual["orphans"]]
    lines += [f"~ container {name} (sleeps in mode {actual['mode']})" for name in actual["restless"]]
    return lines


# ---------------------------------------------------------------- one run at a time


def read_line(path: str) -> str:
    """Return the text of a file of one line; empty where there is none, as on a Mac."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def began(pid: int) -> str | None:
    """Return when a process of this machine began, in the kernel's words; None: it is gone, "": who knows."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # of somebody else
    stat = read_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not stat else None if stat[0] in "ZX" else stat[19]


def process_of_this_run() -> int:
    """Return the id of the run's process. Tasks run in children of it, which go on when it is killed."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent and parent.pid else os.getpid()


def this_run(pid: int) -> dict[str, Any]:
    """Return who changes nodes here: the process `pid`, and on which machine it can be looked up."""
    space = Path("/proc/self/ns/pid")
    host, boot = socket.gethostname(), read_line("/proc/sys/kernel/random/boot_id")
    machine = f"{host} {read_line('/etc/machine-id')} {space.readlink() if space.exists() else ''}"
    start = began(pid) or ""
    return {
        "run": f"{machine} {boot} {pid} {start}",
        "machine": machine,
        "boot": boot,
        "pid": pid,
        "began": start,
        "who": f"{getpass.getuser()}@{host}",
        "play": " ".join(Path(arg).name for arg in context.CLIARGS.get("args", ())),
    }


def is_dead(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Whether a run is seen to be over: it was on this machine, before its boot or as a process now gone."""
    if holder["machine"] != me["machine"]:
        return False
    now = began(holder["pid"])
    return holder["boot"] != me["boot"] or now is None or bool(now and now != holder["began"])


def taken(node: str, holder: Mapping[str, Any], lock: str) -> str:
    """Return the sentence about a node that another run holds."""
    who = f"{holder['who']} (pid {holder['pid']}, {holder['play']})"
    return (
        f"node {node} held by {who} since {holder['since']}, last seen {holder['silent_s']} s ago: must be "
        "changed by one run at a time; wait until that one ends, or, if it is gone for good, "
        f"`sudo rm {lock}` there, and run this again"
    )


# ---------------------------------------------------------------- rendering


class Renderer:
    """Renders what the roles of a node want; the only part that touches Ansible's templar and the disk."""

    def __init__(self, templar: Any, loader: Any, task_vars: Mapping[str, Any], roles: Path) -> None:
        """Resolve the cluster once: it is the same for every template of the node."""
        self._templar, self._loader, self._vars, self._roles = templar, loader, task_vars, roles
        self.shared: dict[str, Any] = {
            name: self._resolve(trust_as_template(f"{{{{ {name} }}}}"), task_vars)
            for name in ("cluster_nodes", "site_secrets", "site_image_mirror")
        }
        host = task_vars["inventory_hostname"]
        self.shared["cluster_node"] = next(n for n in self.shared["cluster_nodes"] if n["host"] == host)

    def _resolve(self, template: Any, variables: Any) -> Any:
        return self._templar.copy_with_new_env(available_variables=variables).template(template)

    def _yaml(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            return {}
        return self._loader.load_from_file(str(path), cache="all", trusted_as_template=True) or {}

    def variables(self, role: str, extra: Mapping[str, Any]) -> ChainMap[str, Any]:
        """Return a role's variables: defaults lowest, then inventory, its vars, and what the engine adds."""
        folder = self._roles / role
        return ChainMap(
            {**self.shared, **extra},
            self._yaml(folder / "vars" / "main.yml"),
            dict(self._vars),
            self._yaml(folder / "defaults" / "main.yml"),
        )

    def values(self, names: Iterable[str], variables: ChainMap[str, Any]) -> dict[str, Any]:
        """Return variables of a role, resolved."""
        return {name: self._resolve(variables[name], variables) for name in names}

    def state(self, role: str, variables: ChainMap[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the role's `__<role>_state`, resolved, and its unresolved `provision_when`."""
        raw = dict(variables.get(f"__{role}_state", {}))
        when = raw.pop("provision_when", "")
        state = {key: self._resolve(value, variables) for key, value in raw.items()}
        check_state(role, state)
        return state, when

    def holds(self, condition: Any, variables: ChainMap[str, Any], probe: Any) -> bool:
        """Evaluate a role's `provision_when` with the probe's answer."""
        answer = self._resolve(condition, variables.new_child({"probe": probe}))
        if not isinstance(answer, bool):
            raise AnsibleActionFail(f"provision_when must be true or false, not {answer!r}: {condition}")
        return answer

    def files(self, role: str, variables: ChainMap[str, Any], uid: int) -> list[File]:
        """Return the role's rendered tree; the path below templates/ is the path on the node."""
        root = self._roles / role / "templates"
        searchpath = [str(root), str(self._roles / role)]
        templar = self._templar.copy_with_new_env(searchpath=searchpath, available_variables=variables)
        rendered = []
        for source in template_sources(root):
            path = f"/{source.relative_to(root)}"
            if source.suffix == ".j2":
                path = path.removesuffix(".j2")
                text = templar.template(
                    trust_as_template(source.read_text()),
                    escape_backslashes=False,
                    overrides={"trim_blocks": True},
                )
                if text is None:  # nothing but false conditions
                    continue
                if not isinstance(text, str):
                    raise AnsibleActionFail(
                        f"{role}: {source.name} rendered to {type(text).__name__}, not to text"
                    )
                if not text.strip():
                    continue
                content = text.encode()
            else:
                content = source.read_bytes()
            executable = bool(source.stat().st_mode & 0o100)
            file = File(path, content, role, "0755" if executable else "0644")
            rendered.append(replace(file, mode="0400", uid=uid, gid=uid) if file.secret else file)
        return rendered


def template_sources(root: Path) -> list[Path]:
    """Return the files of a role's tree in a fixed order, without what editors and others leave behind."""
    return sorted(path for path in root.rglob("*") if path.is_file() and not LEFTOVERS.fullmatch(path.name))


def compose_project(files: Iterable[File], service: str) -> tuple[dict[str, str], list[str]]:
    """Return what a service's compose file names: container -> image, and its volumes.

    Raises AnsibleActionFail when the file is missing or is not the YAML compose expects.
    """
    path = f"{STACK_ROOT}/{service}/compose.yaml"
    content = next((f.content for f in files if f.path == path), None)
    if content is None:
        raise AnsibleActionFail(
            f"service {service}: no template renders {path}; add roles/{service}/templates{path}.j2"
        )
    try:
        project = yaml.load(content, Loader=YAML_LOADER)
        images = {str(name): str(keys["image"]) for name, keys in project["services"].items()}
        return images, list(project.get("volumes") or ())
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise AnsibleActionFail(f"service {service}: {path} is not a compose file: {error}") from error


def limits_of(
    node: Mapping[str, Any], engine: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a node must have before its services can be brought up.

    `engine`: `__docker_engine_state`; `settings`: variables of the role stack.
    """
    return {
        "engine": engine["engine"],
        "engine_packages": engine.get("packages", []),
        "disk_gb": {service: entry.get("disk_gb") or 0 for service, entry in node["services"].items()},
        "disk_reserved_gb": node["disk_reserved_gb"] or 0,
        "disk_floor_mb": int(settings["stack_disk_floor_mb"]),
        "disk_budget": boolean(settings["stack_disk_budget"]),
        "architecture": node["architecture"],
        "memory_mb": node["memory_mb"] if boolean(settings["stack_memory_budget"]) else None,
    }


def desired_state(renderer: Renderer, roles: Path) -> tuple[Desired, dict[str, ChainMap[str, Any]]]:
    """Return the node's desired state and the variables of each of its services."""
    node, mirror = renderer.shared["cluster_node"], renderer.shared["site_image_mirror"]
    desired, service_variables = Desired(mode=node["mode"]), {}
    engine: dict[str, Any] = {}
    services: dict[str, Any] = node["services"]
    contained = [service for service, entry in services.items() if entry["image"]]
    for role in (*HOST_ROLES, *services, "stack"):
        entry = services.get(role)
        extra: dict[str, Any] = {"stack_services": contained}
        if entry is not None:
            extra |= {"service_name": role, "service": entry}
            if role in contained:
                extra["stack_service"] = container_baseline(role, entry, node, mirror)
        variables = renderer.variables(role, extra)
        state, when = renderer.state(role, variables)
        rules = rules_of(state)
        files = renderer.files(role, variables, int((entry or {}).get("uid", 0)))
        files = [apply_rule(f, rule_for(f.path, rules)) for f in files]
        if entry is not None:
            files, digest = seal(files, role)
            images, desired.volumes[role] = compose_project(files, role) if role in contained else ({}, [])
            refuse_unknown(
                f"role {role}: __{role}_state.containers", state.get("containers", {}), sorted(images)
            )
            for container, image in images.items():
                desired.containers[container] = digest
                desired.container_owner[container] = role
                desired.images[container] = image
                if modes := modes_of(role, node):
                    desired.container_modes[container] = modes
            service_variables[role] = variables
            if (roles / role / "tasks" / "provision.yml").is_file():
                # With the digest: a run that died between a container and its provisioning is made up for.
                inputs = json.dumps([digest, state.get("provision_inputs", {})], sort_keys=True)
                desired.provision_inputs[role] = hashlib.sha256(inputs.encode()).hexdigest()[:16]
            if when:
                desired.provision_when[role] = when
            if "probe" in state:
                desired.probes[role] = state["probe"].get("file") or state["probe"]["url"]
            if state.get("provision_last"):
                desired.provision_last.add(role)
        desired.files += files
        desired.rules.update(rules)
        desired.programs.update(state.get("containers", {}))
        desired.packages += state.get("packages", [])
        desired.units += state.get("units", [])
        if role == ENGINE_ROLE:
            engine = state
        elif role == "stack":
            desired.limits = limits_of(node, engine, renderer.values(SETTINGS, variables))
    return desired, service_variables


# ---------------------------------------------------------------- the plugin


# Phases in which the node needs no more than a part of the plan.
WITHOUT_RENDERING: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "take": lambda _plan, _part: {},
    "release": lambda _plan, _part: {},
    "note": lambda plan, _part: dict(to_note(plan)),
    "reacted": lambda plan, part: {"reactions": plan[part]["reactions"]},
    "leave": lambda _plan, _part: {},
}


class ActionModule(ActionBase):
    """Action plugin `stack_node`: plan, take, note, fetch, ship, reacted, commit, release, leave."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one phase and return a result a playbook can branch on."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        phases = ["plan", *WITHOUT_RENDERING, "fetch", "ship", "commit"]
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "phase": {"type": "str", "choices": phases, "required": True},
                "part": {"type": "str", "choices": ["lay", "engine"], "default": "lay"},
                "plan": {"type": "dict", "default": {}},
                "refuse": {"type": "bool", "default": True},
            }
        )
        phase, plan, part = arguments["phase"], arguments["plan"], arguments["part"]
        if self._task.check_mode and phase != "plan":
            return {"changed": False}
        if phase in WITHOUT_RENDERING:
            return self._change(variables, phase=phase, **WITHOUT_RENDERING[phase](plan, part))
        roles = Path(variables["role_path"]).parent
        renderer = Renderer(self._templar, self._loader, variables, roles)
        desired, service_variables = desired_state(renderer, roles)
        node = renderer.shared["cluster_node"]["name"]
        if phase == "fetch":
            return self._fetch(plan, node, variables)
        if phase == "ship":
            result = self._ship(desired, plan, part, variables)
            if "msg" in result:
                result["msg"] = masked(result["msg"], renderer.shared["site_secrets"])
            return result
        if phase == "commit":
            return self._commit(desired, plan, node, variables)
        return self._plan(desired, service_variables, renderer, variables, arguments["refuse"])

    def _send(self, task_vars: dict[str, Any], **request: Any) -> dict[str, Any]:
        """Run the node's half once; base64 needs no quoting inside the module's source."""
        encoded = base64.b64encode(json.dumps(request).encode()).decode()
        result: dict[str, Any] = self._execute_module(
            "stack_node", module_args={"request": encoded}, task_vars=task_vars
        )
        return result

    def _change(self, task_vars: dict[str, Any], **request: Any) -> dict[str, Any]:
        """Run the node's half of a phase that changes it, and hold it for this run: no other one may."""
        process = process_of_this_run()
        if began(process) is None:
            # It would hold the node in the name of nobody, and work on it beside the next run.
            raise AnsibleActionFail(
                f"the run of this task is gone: {task_vars['node_name']} is left as it is"
            )
        me = this_run(process)
        result = self._send(task_vars, run=me, **request)
        if "taken" in result and is_dead(result["taken"], me):
            result = self._send(task_vars, run=me, over=result["taken"]["run"], **request)
        if "taken" in result:
            raise AnsibleActionFail(taken(task_vars["node_name"], result["taken"], result["lock"]))
        return result

    def _ask(
        self, desired: Desired, task_vars: dict[str, Any], commit: dict[str, str | None] | None
    ) -> dict[str, Any]:
        """Ask the node once; return what differs."""
        return (self._send if commit is None else self._change)(
            task_vars,
            phase="inspect",
            with_text=self._task.diff,
            files=[file.question() for file in desired.files],
            packages=desired.packages,
            units=desired.units,
            containers=desired.containers,
            container_modes=desired.container_modes,
            mode=desired.mode,
            images=desired.images,
            engine=engine_question(desired),
            probes=desired.probes,
            commit=commit,
        )

    def _plan(
        self,
        desired: Desired,
        service_variables: Mapping[str, ChainMap[str, Any]],
        renderer: Renderer,
        task_vars: dict[str, Any],
        refuse: bool,
    ) -> dict[str, Any]:
        node = renderer.shared["cluster_node"]["name"]
        actual = self._ask(desired, task_vars, commit=None)
        if "differing" not in actual:
            return actual
        wanted = {
            service: renderer.holds(when, service_variables[service], actual["probes"].get(service))
            for service, when in desired.provision_when.items()
        }
        plan = make_plan(desired, actual, wanted)
        for line in plan["lines"]:
            Display().display(f"{node:<6} {line}")
        plan["differing"] = actual["differing"]
        plan["wanted"] = wanted_of(desired, actual)
        plan["found"] = {**found_of(actual), "door": self._door(desired, actual)}
        plan["complaints"] = node_complaints(plan["found"], node, plan["wanted"])
        if plan["complaints"] and refuse:
            return {"failed": True, "msg": report(node, plan["complaints"], "nothing was changed on it")}
        if self._task.check_mode:
            plan["changed"] = bool(plan["lines"])
            shown = file_diffs(desired.files, actual["differing"], actual["leftover"])
            plan["diff"] = shown if self._task.diff else []
        return plan

    def _door(self, desired: Desired, actual: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return who cannot log in with a key, and why, where this run is to end other logins.

        Through a connection other than Ansible's own `ssh` no key is tried: that one is named.
        """
        if not locks_out([item["path"] for item in actual["differing"]], desired.rules):
            return None
        # Not `transport`: others call themselves ssh, too, and have other options.
        by = str(self._connection.ansible_name)
        if by.rpartition(".")[2] != "ssh":
            return {"by": by}
        options = self._connection.get_option
        done = subprocess.run(
            key_login(options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if not done.returncode:
            return None
        said = (done.stderr.strip() or f"rc {done.returncode}").splitlines()[-1]
        names = {"user": "remote_user", "host": "host", "port": "port", "key": "private_key_file"}
        return {"said": said, **{name: options(option) for name, option in names.items()}}

    def _fetch(self, plan: Mapping[str, Any], node: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        result = self._change(task_vars, phase="fetch", images=plan["images"])
        if "images" not in result:
            return result
        # The engine may be one that this run has installed.
        found = {**plan["found"], **result, "engine": {**result["engine"], "absent": False}}
        installed = {"engine": False, "compose": False}
        wanted = {**plan["wanted"], "engine": {**plan["wanted"]["engine"], "coming": installed}}
        if complaints := node_complaints(found, node, wanted):
            kept = "its services are as they were, and so are their files"
            return {"failed": True, "msg": report(node, complaints, kept)}
        return {"changed": result["changed"]}

    def _ship(
        self, desired: Desired, plan: Mapping[str, Any], part: str, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        lay, partial = plan[part], part == "engine"
        changed = [f for f in desired.files if f.path in set(lay["files"])]
        checkers = {f.path: rule_for(f.path, desired.rules).get("validate") for f in changed}
        result = self._change(
            task_vars,
            phase="ship",
            files=[{"path": f.path, "fragment": f.fragment} for f in (changed if partial else desired.files)],
            partial=partial,
            archive=pack(changed),
            remove=lay["remove"],
            reactions=lay["reactions"] + ([] if partial else plan["owed"]),
            checks={} if partial else checks_for(desired, [*lay["files"], *lay["remove"]]),
            validations={path: checker for path, checker in checkers.items() if checker},
            compose_check=bool(desired.containers) and any(p.startswith(STACK_ROOT) for p in lay["files"]),
        )
        if self._task.diff:
            result["diff"] = file_diffs(desired.files, plan["differing"], lay["remove"])
        return result

    def _commit(
        self, desired: Desired, done: Mapping[str, Any], node: str, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        # Nothing was provisioned in a service that sleeps: what is known of it stays as it was.
        commit = {
            service: None if service in done["asleep"] else inputs
            for service, inputs in desired.provision_inputs.items()
        }
        actual = self._ask(desired, task_vars, commit=commit)
        if "differing" not in actual:
            return actual
        plan = make_plan(desired, actual, {})
        if plan["lines"]:
            left = "; ".join(plan["lines"])
            raise AnsibleActionFail(
                f"{node} is not as it should be after this run: {left}. Run the playbook again; "
                f"if the same lines come back, something on the node undoes them"
            )
        return {"changed": False, "facts": plan["facts"]}
