"""Findings about a node that only the node shows: board, engine, disk, images.

Every finding is one sentence `<object> <value>: <rule>; <fix>`, as in `site_errors`. What a node could not
tell (None) is no finding: a refusal must be right.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..site.firewall import lets_in
from .engine_start import DAEMON_FILE, OPTIONS, start_faults, store_changes
from .images import image_findings
from .subjects import HOST_FILE, SITE_FILE

MIB_PER_GIB = 1024
ENGINE_FILE = "roles/docker_engine/vars/main.yml"
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"
BOARD_FILES = "group_vars/<board>/hardware.yml, or, of this machine alone, host_vars/<address>/node.yml"
# What `uname -m` says -> Docker's and Debian's word for it.
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
BITS = 64
# Kernels of one board differ a little in what they keep.
MEMORY_SHOWN_PERCENT = 95
# The first engine that publishes ports with kernel modules that JetPack 6 has since 6.2.1; no other JetPack
# is known for that.
RAW_TABLE_ENGINE, RAW_TABLE_L4T, RAW_TABLE_JETPACK = "28.0", "36.4.4", "JetPack 6.2.1"
# Program of a container runtime -> the package that brings it.
RUNTIME_PACKAGES = {"nvidia-container-runtime": "nvidia-container-toolkit"}
CGROUP_ARGUMENTS = "cgroup_enable=memory cgroup_memory=1"


class Case(NamedTuple):
    """One node: its name, what was found on it, and what is wanted of it; see `node_findings`."""

    node: str
    found: Mapping[str, Any]
    wanted: Mapping[str, Any]


Rule = Callable[[Case], Iterator[str]]


def version(text: object) -> tuple[int, ...] | None:
    """Return the numbers a version starts with (`20.10.24+dfsg1` -> (20, 10, 24)), None if there are none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text) if isinstance(text, str) else None
    return tuple(map(int, match[1].split("."))) if match else None


def is_older(found: object, oldest: object) -> bool:
    """Whether a version is lower than another; what is no version is not."""
    one, other = version(found), version(oldest)
    if one is None or other is None:
        return False
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)) < other + (0,) * (length - len(other))


def size(mib: float) -> str:
    """Return MiB as people read it."""
    return f"{mib / MIB_PER_GIB:.1f} GiB" if mib >= MIB_PER_GIB else f"{mib:.0f} MiB"


def package(case: Case, kind: str) -> str:
    """Return the package that brings `engine` or `compose` on this node, empty where none does."""
    return str(case.wanted["engine"]["packages"].get(kind) or "")


def userland(case: Case) -> Iterator[str]:
    """The system is 64-bit, and of the architecture the images are chosen for."""
    board, wanted = case.found["board"], case.wanted["architecture"]
    has = ARCHITECTURES.get(board["machine"], board["machine"])
    if board["bits"] != BITS:
        yield (
            f"system of {case.node} {board['bits']}-bit (kernel {board['machine']}): must be 64-bit, as the "
            "images are; install the 64-bit one, of Raspberry Pi OS `arm64`"
        )
    elif has != wanted:
        yield (
            f"architecture of {case.node} {has}: must be its node_architecture, {wanted}; correct that in "
            f"{BOARD_FILES}"
        )


def memory(case: Case) -> Iterator[str]:
    """Linux shows the memory that the budget counts with; more is no harm."""
    has, said = case.found["board"]["memory_mb"], case.wanted["memory_mb"]
    if has is not None and said is not None and has * 100 < said * MEMORY_SHOWN_PERCENT:
        yield (
            f"memory of {case.node} {has} MiB (MemTotal): must be {MEMORY_SHOWN_PERCENT} % of its "
            f"node_memory_mb, {said}, at least; correct that in {BOARD_FILES}"
        )


def key_login(case: Case) -> Iterator[str]:
    """A key opens a new connection for the user this run logs in as, before it turns passwords off."""
    refused = case.found["key_login"]
    if refused and "by" in refused:
        yield (
            f"connection {refused['by']} to {case.node}: must be ssh in a run that ends logins with a "
            "password, because it tries a key first; run this once with `-e ansible_connection=ssh`, without "
            "Mitogen"
        )
    elif refused:
        port = f"-p {refused['port']} " if refused["port"] else ""
        key = f"-i {shlex.quote(str(Path(refused['key']).expanduser()))} " if refused["key"] else ""
        login = f"{refused['user']}@{refused['host']}" if refused["user"] else refused["host"]
        yield (
            f"login of {login} on {case.node} with a key, in a new connection: {refused['said']}: must work "
            f"before this run ends logins with a password; `ssh-copy-id {key}{port}{login}` (`ssh-keygen` "
            "first, if you have no key)"
        )


def memory_cgroup(case: Case) -> Iterator[str]:
    """Memory limits work; without the cgroup Docker ignores them and only warns."""
    cgroup = case.found["memory_cgroup"]
    if cgroup["on"] is not False or not case.wanted["containers"]:
        return
    where = cgroup["cmdline"]
    if where.endswith("cmdline.txt"):
        fix = f"`sudo sed -i '1s/$/ {CGROUP_ARGUMENTS}/' {where} && sudo reboot`"
    elif where:
        fix = f"append `{CGROUP_ARGUMENTS}` to the kernel's arguments (APPEND) in {where} and reboot"
    else:
        fix = (
            f"append `{CGROUP_ARGUMENTS}` to GRUB_CMDLINE_LINUX in /etc/default/grub, then "
            "`sudo update-grub && sudo reboot`"
        )
    yield (
        f"memory cgroup of {case.node} {cgroup['evidence']}: must be on, or the memory limit of every "
        f"container is silently ignored; {fix}"
    )


def engine_there(case: Case) -> Iterator[str]:
    """An engine is there, or this run installs one."""
    engine, wanted = case.found["engine"], case.wanted["engine"]
    if not case.wanted["containers"] or not engine["absent"] or wanted["coming"]["engine"]:
        return
    if only := case.wanted["only"]:
        yield (
            f"Docker Engine of {case.node} absent: must be there before role {only}; put the role "
            f"docker_engine before it, as in `roles: [docker_engine, {only}]`"
        )
    else:
        yield (
            f"Docker Engine of {case.node} absent: must be there, because docker_engine_source is "
            f"{wanted['source']} and installs none; `sudo apt-get install docker.io` there, or another "
            "docker_engine_source in group_vars/<board>/hardware.yml"
        )


def engine_age(case: Case) -> Iterator[str]:
    """The engine speaks the API that compose and the toolkit use."""
    engine, wanted = case.found["engine"], case.wanted["engine"]
    if wanted["coming"]["engine"] or not is_older(engine["api"], wanted["oldest"]["api"]):
        return
    brought = package(case, "engine") or "docker.io"
    yield (
        f"Docker Engine of {case.node} {engine['version']} (API {engine['api']}): must be "
        f"{wanted['oldest']['engine']} (API {wanted['oldest']['api']}) or newer, {ENGINE_FILE}; "
        f"`sudo apt-get update && sudo apt-get install --only-upgrade {brought}` there"
    )


def published_ports(case: Case) -> Iterator[str]:
    """A Jetson's kernel has what the engine publishes ports with."""
    board, engine, wanted = case.found["board"], case.found["engine"], case.wanted["engine"]
    same_major = (version(board["l4t"]) or ())[:1] == (version(RAW_TABLE_L4T) or ())[:1]
    # What is held was chosen by somebody who knows the kernel.
    if not same_major or not is_older(board["l4t"], RAW_TABLE_L4T) or board["held"]:
        return
    if wanted["coming"]["engine"]:
        # Docker's own repository gives its newest; what a distribution gives is seen when it is there.
        what = f"this run would install the newest {package(case, 'engine')}"
        too_new = wanted["source"] == "docker"
    else:
        what = f"{engine['version']} is there"
        too_new = version(engine["version"]) is not None and not is_older(engine["version"], RAW_TABLE_ENGINE)
    if too_new:
        yield (
            f"L4T of {case.node} {board['l4t']}: must be {RAW_TABLE_L4T} ({RAW_TABLE_JETPACK}) or newer, or "
            f"Docker Engine {RAW_TABLE_ENGINE} and newer cannot publish ports, and {what}; update to "
            f"{RAW_TABLE_JETPACK}, or install docker-ce 5:27.5.1 there and `sudo apt-mark hold docker-ce "
            "docker-ce-cli`, or have the board's own engine: `docker_engine_source: board` in "
            "group_vars/<board>/hardware.yml"
        )


def runtimes(case: Case) -> Iterator[str]:
    """The program of every container runtime is there, or a package of this run brings it."""
    for program in case.found["board"]["absent"]:
        brought = RUNTIME_PACKAGES.get(program.rpartition("/")[2])
        if brought is None or brought not in case.wanted["packages"]:
            fix = f"`sudo apt-get install {brought}` there" if brought else "install it there"
            yield (
                f"program {program} of {case.node} absent: must be there, because docker_engine_runtimes "
                f"names it; {fix}"
            )


def compose_age(case: Case) -> Iterator[str]:
    """The compose plugin is there and knows what the project's files say."""
    found, wanted = case.found["compose"], case.wanted["engine"]
    if found is None or wanted["coming"]["compose"] or case.found["engine"]["absent"]:
        return
    if found and not is_older(found, wanted["oldest"]["compose"]):
        return
    brought = package(case, "compose")
    fix = (
        f"`sudo apt-get update && sudo apt-get install {brought}` there"
        if brought
        else f"put docker-compose-linux-aarch64 of a newer release there as {PLUGIN}, mode 0755"
    )
    yield (
        f"compose plugin of {case.node} {found or 'absent'}: must be {wanted['oldest']['compose']} or newer, "
        f"{ENGINE_FILE}; {fix}"
    )


def engine_start(case: Case) -> Iterator[str]:
    """The engine starts again with the file to come; one that runs is not taken down for nothing."""
    start = case.found["starting"]
    for value, rule, fix in start_faults(start) if start else ():
        subject = f"new {DAEMON_FILE} of {case.node} ({value})"
        yield f"{subject}: {rule}, or the engine does not start again; {fix}"


def store_to_come(case: Case) -> Iterator[str]:
    """The engine finds the project's containers and volumes again when it starts with the file to come."""
    start = case.found["starting"]
    for key, now, then, fix in store_changes(start, bool(case.found["volumes"])) if start else ():
        yield (
            f"new {DAEMON_FILE} of {case.node} ({key}: {then}, until now {now}): must be what containers "
            f"and volumes of the project were made with, or the engine starts with none of them; {fix}; or "
            f"leave {key} as it was, {OPTIONS} or the file there"
        )


def full_disk(case: Case) -> Iterator[str]:
    """No disk a run writes to is full."""
    floor = case.wanted["disk_floor_mb"]
    for disk in distinct(case.found["disks"]):
        if disk["free_mb"] < floor:
            yield (
                f"disk of {disk['paths']} (file system {disk['mount']}) on {case.node} "
                f"{size(disk['free_mb'])} free of {size(disk['size_mb'])}: must have {size(floor)} "
                f"(stack_disk_floor_mb); see `sudo du -xh --max-depth=2 {disk['mount']} | sort -h | "
                "tail`; `sudo docker image prune --all` there frees unused images"
            )


def distinct(disks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each file system once, with all of its paths joined by `and`."""
    by_device: dict[Any, list[Mapping[str, Any]]] = {}
    for disk in disks:
        by_device.setdefault(disk["device"], []).append(disk)
    for same in by_device.values():
        paths = " and ".join(dict.fromkeys(str(disk["path"]) for disk in same))
        yield {**same[0], "paths": paths}


def disk_to_come(case: Case) -> Iterator[str]:
    """What the services that are still to come may grow to fits where Docker keeps data."""
    coming = {service: need for service, need in case.wanted["coming_gb"].items() if need}
    disk = next((disk for disk in reversed(case.found["disks"]) if disk["docker"]), None)
    if disk is None or not coming or not case.wanted["disk_budget"]:
        return
    reserve = case.wanted["disk_reserved_gb"]
    needed = sum(coming.values()) + reserve
    if disk["free_mb"] < needed * MIB_PER_GIB:
        listed = ", ".join(f"{service} {need}" for service, need in coming.items())
        yield (
            f"disk of {disk['path']} on {case.node} {size(disk['free_mb'])} free of {size(disk['size_mb'])}: "
            f"must hold the {needed} GiB still to come ({listed}, {reserve} reserved); free space there, "
            "lower disk_gb of a service in group_vars/<tier>/services.yml, or move Docker's data to a "
            "bigger disk (data-root in /etc/docker/daemon.json)"
        )


def images(case: Case) -> Iterator[str]:
    """Every image that is missing on the node can be had."""
    wanted = case.wanted
    yield from image_findings(case.node, case.found["images"], wanted["images"], wanted["architecture"])


def firewall(case: Case) -> Iterator[str]:
    """Our rules do not mix with those of others, and lock out neither this run nor let in everybody."""
    met, wanted = case.found["firewalls"], case.wanted["firewall"]
    if not met or not wanted:
        return
    off = f"`site_firewall: false` for {case.node}"
    for other in met["others"] if wanted["others"] == "refuse" else ():
        fix = {"ufw": "`sudo ufw disable`", "firewalld": "`sudo systemctl disable --now firewalld`"}
        yield (
            f"firewall of {case.node} {other}: must not be there beside the toolkit's, or nobody can tell "
            f"which of them closes a port; {fix.get(other, 'take it off')} there, {off}, or "
            "`firewall_with_others: beside`, with which both apply"
        )
    if met["nf_tables"] is False:
        yield (
            f"kernel of {case.node} without nf_tables: must have them for the firewall; one with "
            "CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_FIB_INET, or "
            f"{off}, which leaves its ports open to the LAN"
        )
    if met["peer"] and not lets_in(wanted["login"], met["peer"].partition("%")[0]):
        yield (
            f"address of this run {met['peer']}, as {case.node} sees it: must be one that the firewall lets "
            f"in to ssh ({', '.join(wanted['login']) or 'none'}), or the run locks itself out; add it to "
            f"site_operators in {SITE_FILE}, of IPv6 to firewall_ssh_ipv6"
        )
    if met["sshd"] and met["sshd"] not in wanted["ports"]:
        yield (
            f"port of sshd on {case.node} {met['sshd']}, as it sees this run: must be one that the firewall "
            f"opens ({', '.join(wanted['ports'])}); set `ansible_port: {met['sshd']}` in {HOST_FILE}, or, "
            "where a router forwards another port to it, add it to firewall_own_ports"
        )
    for name in met["bridges"]:
        yield (
            f"interface {name} of {case.node}: must not begin with br-, as Docker's bridges do, to which the "
            f"firewall lets everything; rename it, or {off}"
        )


def major(image: str) -> str:
    """Return the major version in the tag of an image."""
    return image.partition("@")[0].rpartition(":")[2].partition(".")[0]


def one_major(case: Case) -> Iterator[str]:
    """A service does not get another major version whose data it cannot read."""
    for service, image in case.wanted["one_major"].items():
        now = case.found["replaced"].get(service, {}).get("image", image)
        if major(now) != major(image):
            yield (
                f"image of {service} on {case.node} {image}: must be of the major version of {now}, as no "
                "other reads its data; set that one, or do what docs/restore.md#another-major-version says"
            )


RULES: tuple[Rule, ...] = (
    key_login, userland, memory, memory_cgroup, engine_there, engine_age, published_ports, runtimes,
    compose_age, engine_start, store_to_come, full_disk, disk_to_come, images, one_major, firewall,
)  # fmt: skip


def node_findings(found: Mapping[str, Any], node: str, wanted: Mapping[str, Any]) -> list[str]:
    """Return one sentence per finding about a node; an empty list is good.

    `found`: the conditions of an inspection (module_utils/aicluster_node/inspection.py) with, of the engine,
    absent: bool; replaced: container -> {image: the one it runs} of those that are to have another;
    key_login: None, or who cannot log in with a key, {user, host, port, key (file; each may be None), said},
    or {by: the connection with which nobody tried}; firewalls: None, or what `firewalls.firewalls` of the
    node's half returns.
    `wanted`: only (the one role of this run, or ""), containers (bool: any), engine {source, packages and
    coming {engine, compose}: what brings them, whether this run installs them, oldest {engine, api,
    compose}}, disk_floor_mb (MiB), disk_budget (bool), disk_reserved_gb and coming_gb {service: GiB of those
    that are not there yet}, architecture, memory_mb (MiB, None: any is enough), packages this run installs,
    firewall {others: refuse or beside, login: networks that reach ssh} or None, images {name: services},
    one_major {container: image} of those that keep their major version.
    """
    case = Case(node, found, wanted)
    return [finding for rule in RULES for finding in rule(case)]
