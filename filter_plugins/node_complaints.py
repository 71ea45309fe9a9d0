# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of a node's services and only the node shows: board, engine, disk, images.

Every complaint is one sentence `<object> <value>: <rule>; <fix>`, as in `site_errors`. Source of the facts:
library/stack_node.py. What a node could not tell (None) is no complaint: a refusal must be right.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aicluster.site.catalogue import file_of

MIB_PER_GIB = 1024
IMAGES_FILE = "group_vars/all/images.yml"
HARDWARE_FILE = "group_vars/<board>/hardware.yml"
# `{first}` is filled in, by the name of a service.
SERVICE_FILE = file_of("{first}")
ENGINE_FILE = "roles/docker_engine/vars/main.yml"
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"
PUBLIC_REGISTRY = "docker.io"
HTTP_OK = 200
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
    """One node: its name, what was found on it, and what is wanted of it; see `node_complaints`."""

    node: str
    found: Mapping[str, Any]
    wanted: Mapping[str, Any]


Rule = Callable[[Case], Iterator[str]]


# ---------------------------------------------------------------- small things


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


def registry_of(image: str) -> str:
    """Return host[:port] of the registry an image comes from."""
    first, slash, _ = image.partition("/")
    return first if slash and (first == "localhost" or set(".:") & set(first)) else PUBLIC_REGISTRY


def names(services: Iterable[str]) -> str:
    """Return `service a` or `services a and b`."""
    listed = sorted(set(services))
    return f"service{'s' if len(listed) > 1 else ''} {' and '.join(listed)}"


def size(mib: float) -> str:
    """Return MiB as people read it."""
    return f"{mib / MIB_PER_GIB:.1f} GiB" if mib >= MIB_PER_GIB else f"{mib:.0f} MiB"


def package(case: Case, kind: str) -> str:
    """Return the package that brings `engine` or `compose` on this node, empty where none does."""
    return str(case.wanted["engine"]["packages"].get(kind) or "")


# ---------------------------------------------------------------- rules


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


def door(case: Case) -> Iterator[str]:
    """A key opens a new connection for the user this run logs in as, before it turns passwords off."""
    shut = case.found["door"]
    if shut and "by" in shut:
        yield (
            f"connection {shut['by']} to {case.node}: must be ssh in a run that ends logins with a password, "
            "because it tries a key first; run this once with `-e ansible_connection=ssh`, without Mitogen"
        )
    elif shut:
        port = f"-p {shut['port']} " if shut["port"] else ""
        key = f"-i {shlex.quote(str(Path(shut['key']).expanduser()))} " if shut["key"] else ""
        login = f"{shut['user']}@{shut['host']}" if shut["user"] else shut["host"]
        yield (
            f"login of {login} on {case.node} with a key, in a new connection: {shut['said']}: must work "
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
    if case.wanted["containers"] and engine["absent"] and not wanted["coming"]["engine"]:
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


# Flags of dockerd that daemon.json calls otherwise: by another word, or, of lists, by the plural.
FLAG_KEYS = {
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "b": "bridge",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
    "insecure-registry": "insecure-registries",
    "registry-mirror": "registry-mirrors",
    **{name: f"{name}s" for name in ("host", "label", "log-opt", "exec-opt", "dns-opt", "storage-opt")},
}
# What the log driver `journald` takes, and every driver; with any other option the engine does not start.
JOURNALD_OPTIONS = {"labels", "labels-regex", "env", "env-regex", "tag"}
COMMON_OPTIONS = {"mode", "max-buffer-size"}
OPTIONS = "docker_engine_options in host_vars/<address>/node.yml"
DAEMON_FILE = "/etc/docker/daemon.json"
UNIT = "`systemctl cat docker`, /etc/default/docker"


def flags_of(command: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys of daemon.json the engine's command line gives, and their values; bare ones are on."""
    given: dict[str, list[str]] = {}
    for word, after in itertools.pairwise([*command, "-"]):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        elif word.startswith("-"):
            name, equals, value = word[1:2], word[2:], word[2:].removeprefix("=")
        else:
            continue
        bare = "true" if after.startswith("-") else after
        given.setdefault(FLAG_KEYS.get(name, name), []).append(value if equals else bare)
    return given


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping of daemon.json; what is none, as `null`, is empty."""
    return value if isinstance(value, Mapping) else {}


def as_written(value: object) -> str:
    """Return a value as a file or a flag says it."""
    return value if isinstance(value, str) else json.dumps(value)


def is_off(value: object) -> bool:
    """Whether a switch of the engine is off; of a flag it is a word."""
    return str(value).lower() in {"false", "f", "0"}


# Keys that the engine does not take together, with what each must be for that; its own check lets them pass.
EXCLUSIVE: tuple[tuple[dict[str, Callable[[object], bool]], str], ...] = (
    ({"iptables": is_off, "icc": is_off}, "must not both be off: icc is turned off by means of iptables"),
    ({"bridge": bool, "bip": bool}, "must not both be set: a bridge that is there has its address"),
)


def engine_start(case: Case) -> Iterator[str]:
    """The engine starts again with the file to come; one that runs is not taken down for nothing."""
    start = case.found["starting"]
    for value, rule, fix in start_faults(start) if start else ():
        subject = f"{DAEMON_FILE} to come of {case.node} ({value})"
        yield f"{subject}: {rule}, or the engine does not start again; {fix}"


def start_faults(start: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (value, rule, fix) of what an engine refuses to start with; its own check says only some."""
    file, said, flags = start["file"], start["said"], flags_of(start["command"])
    twice = sorted(set(flags) & set(file) - {"runtimes"})
    if said is None and twice:
        said = f"specified both as a flag and in the configuration file: {', '.join(twice)}"
    if said:
        words = " ".join(said.split()).rpartition("/dev/stdin: ")[2]
        yield (
            words,
            f"must be accepted by `{' '.join(start['command'])}`",
            f"correct {OPTIONS} or the key in {DAEMON_FILE} there, or take the flag out where it is given "
            f"({UNIT})",
        )
    if start["swarm"] and file.get("live-restore"):
        yield (
            "live-restore: true",
            "must be off on a member of a swarm",
            f"`sudo docker swarm leave` there, or `live-restore: false` in {OPTIONS}",
        )
    yield from log_faults(file, flags)
    # What is given twice was named above.
    settings = {**{key: values[-1] for key, values in flags.items()}, **file}
    for both, rule in EXCLUSIVE:
        if all(is_so(settings.get(key)) for key, is_so in both.items()):
            value = ", ".join(f"{key}: {as_written(settings[key])}" for key in both)
            fix = f"take one of them out of {OPTIONS}, of {DAEMON_FILE} there, or of the flags there ({UNIT})"
            yield value, rule, fix
    yield from runtime_faults(file, flags)


def log_faults(file: Mapping[str, Any], flags: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    """Yield options of logs, in the file or as flags, that are not those of the log driver `journald`."""
    if (file.get("log-driver") or flags.get("log-driver", [""])[-1]) != "journald":
        return
    written = mapping(file.get("log-opts"))
    given = [option.partition("=")[0] for option in flags.get("log-opts", [])]
    others = sorted(
        name
        for name in {*written, *given} - JOURNALD_OPTIONS - COMMON_OPTIONS
        if not name.startswith("cache-")
    )
    if others:
        where = (
            f"of {DAEMON_FILE} there" if set(others) & set(written) else f"where the flags are given ({UNIT})"
        )
        yield (
            f"log-opts: {', '.join(others)}",
            "must be options of its log-driver, journald",
            f"take them out {where}, or keep their log-driver in {OPTIONS}",
        )


def runtime_faults(
    file: Mapping[str, Any], flags: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield a default runtime that is none, and runtimes that are not said as the engine wants them."""
    runtimes = mapping(file.get("runtimes"))
    default = file.get("default-runtime") or "runc"
    # A type has a dot; a flag may name more.
    elsewhere = "." in default or "add-runtime" in flags
    mend = f"correct docker_engine_runtimes in {HARDWARE_FILE}, or {DAEMON_FILE} there"
    if default not in {"runc", *runtimes} and not elsewhere:
        yield f"default-runtime: {default}", "must be among its runtimes", mend
    for name, runtime in sorted(runtimes.items()):
        kinds = [kind for kind in ("path", "runtimeType") if kind in mapping(runtime)]
        if name == "runc" or len(kinds) != 1:
            yield f"runtime {name}", "must have a name other than runc, and either path or runtimeType", mend


def store_to_come(case: Case) -> Iterator[str]:
    """The engine finds the project's containers and volumes again when it starts with the file to come."""
    start = case.found["starting"]
    for key, now, then, fix in store_changes(start, bool(case.found["volumes"])) if start else ():
        yield (
            f"{DAEMON_FILE} to come of {case.node} ({key}: {then}, until now {now}): must be what containers "
            f"and volumes of the project were made with, or the engine starts with none of them; {fix}; or "
            f"leave {key} as it was, {OPTIONS} or the file there"
        )


def store_changes(start: Mapping[str, Any], volumes: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, value now, value to come, fix) of what hides containers, or `volumes`, that are there."""
    file, store, flags = start["file"], start["store"], set(flags_of(start["command"]))
    now, then, remaps = store["root"], store["root_to_come"], bool(file.get("userns-remap"))
    # What a flag says changes with no file.
    if (volumes or start["containers"]) and now != then and not {"data-root", "graph", "g"} & flags:
        yield (
            "data-root",
            now,
            then,
            "move the data first: `sudo docker stop $(sudo docker ps -q)`, `sudo systemctl stop docker "
            f"docker.socket`, `sudo rsync -aHAX {now}/ {then}/`, data-root into {DAEMON_FILE} there, `sudo "
            "systemctl start docker`",
        )
    if (
        (volumes or start["containers"])
        and differs(store["remapped"], remaps)
        and "userns-remap" not in flags
    ):
        yield (
            "userns-remap",
            "on" if store["remapped"] else "off",
            as_written(file.get("userns-remap") or "off"),
            "move the data first: save it, run playbooks/cleanup.yml there, put it back after this run",
        )
    if not start["containers"]:
        return  # volumes lie elsewhere
    again = (
        "`sudo docker compose -p aicluster down` there first: volumes stay, this run makes containers anew"
    )
    driver, wants = file.get("storage-driver"), mapping(file.get("features")).get("containerd-snapshotter")
    # Of containerd's store it may go by either of two names.
    if driver and differs(store["driver"], driver) and not wants:
        yield "storage-driver", store["driver"], as_written(driver), again
    if wants is not None and differs(store["in_containerd"], wants):
        key = "features.containerd-snapshotter"
        yield key, as_written(store["in_containerd"]), as_written(wants), again


def differs(now: object, then: object) -> bool:
    """Whether a value changes; what the engine could not tell does not."""
    return now is not None and now != then


def full_disk(case: Case) -> Iterator[str]:
    """No disk a run writes to is full."""
    floor = case.wanted["disk_floor_mb"]
    for disk in distinct(case.found["disks"]):
        if disk["free_mb"] < floor:
            yield (
                f"disk of {disk['paths']} (file system {disk['mount']}) on {case.node} "
                f"{size(disk['free_mb'])} free of {size(disk['size_mb'])}: must have {size(floor)} "
                f"(stack_disk_floor_mb); look with `sudo du -xh --max-depth=2 {disk['mount']} | sort -h | "
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


class Kind(NamedTuple):
    """A kind of refusal of a registry: what its words look like, the rule, and the fix."""

    words: str
    rule: str
    fix: str
    # It refuses all images of the registry alike: once is enough.
    of_registry: bool = False


MIRROR = (
    f"check name, network and proxy of the node (`sudo systemctl edit docker`, Environment=HTTPS_PROXY=...), "
    f"or name a mirror it can reach: site_image_mirror in {IMAGES_FILE}"
)
CORRECT = "look up which exist and correct image of {first} in " + SERVICE_FILE
UNREACHABLE = "registry {registry} must be reachable from the node"
# The first kind whose words are in what the engine said; `{...}` is filled in by `image_complaint`.
KINDS = (
    Kind(r"proxyconnect|dial tcp|no such host|timeout|deadline exceeded", UNREACHABLE, MIRROR, True),
    Kind(
        r"no matching manifest|no build for",
        "must be built for the node's architecture",
        "take a tag that is, or another image, for {first} in " + SERVICE_FILE,
    ),
    # A removed repository cannot be told from a private one: `does not exist or may require docker login`.
    Kind(
        r"denied|unauthorized|authentication required|no basic auth|forbidden|repository .* not found",
        "must be there for everyone, but registry {registry} has no such image or wants a login",
        f"look it up and correct image of {{first}} in {SERVICE_FILE}, "
        "or `sudo docker login {registry}` there",
    ),
    Kind(
        r"toomanyrequests|too many requests|rate limit",
        "registry {registry} must answer, but has had too many requests",
        f"wait an hour, `sudo docker login {{registry}}` there, or set site_image_mirror in {IMAGES_FILE}",
        True,
    ),
    Kind(
        r"x509|certificate",
        "registry {registry} must show a certificate the node trusts",
        "put its CA on the node as /etc/docker/certs.d/{registry}/ca.crt, or correct site_image_mirror in "
        + IMAGES_FILE,
        True,
    ),
    Kind(
        r"HTTP response to HTTPS client",
        "registry {registry} must speak TLS or be named as one that does not",
        f"add `{{registry}}` to docker_engine_insecure_registries in {IMAGES_FILE}",
        True,
    ),
    Kind(r"no space left", "its layers must fit on the disk", "`sudo docker image prune --all` there"),
    Kind(
        r"manifest unknown|not found",
        "registry {registry} has no such tag",
        CORRECT,
    ),
    Kind("", UNREACHABLE, MIRROR, True),
)


def images(case: Case) -> Iterator[str]:
    """Every image that is missing on the node can be had."""
    refused: dict[tuple[str, str], list[str]] = {}
    for image, answer in case.found["images"].items():
        if answer is None or answer["status"] is None:
            continue
        error = refusal(answer, case.wanted["architecture"])
        if error:
            kind = next(kind for kind in KINDS if re.search(kind.words, error, re.IGNORECASE))
            key = registry_of(image) if kind.of_registry else image
            refused.setdefault((key, kind.words), []).append(image)
    for (_, words), alike in refused.items():
        kind = next(kind for kind in KINDS if kind.words == words)
        error = str(refusal(case.found["images"][alike[0]], case.wanted["architecture"]))
        yield image_complaint(case, kind, alike, error)


def refusal(answer: Mapping[str, Any], architecture: str) -> str | None:
    """Return why an image cannot be had, None if it can.

    `answer`: status (HTTP), message, and platforms (`os/architecture`, possibly none said).
    """
    if answer["status"] != HTTP_OK:
        return " ".join(str(answer["message"]).split()) or f"status {answer['status']}"
    built = [platform for platform in answer["platforms"] if platform.startswith("linux/")]
    if built and f"linux/{architecture}" not in built:
        return f"no build for linux/{architecture}, only {', '.join(sorted(set(built)))}"
    return None


def image_complaint(case: Case, kind: Kind, alike: list[str], error: str) -> str:
    """Return the sentence about one image, or about all images of a registry that does not answer."""
    services = [service for image in alike for service in case.wanted["images"][image]]
    subject = f"image {alike[0]} of {names(services)}" if len(alike) == 1 else f"images of {names(services)}"
    # The mirror is no part of what the catalogue says.
    filled = {"registry": registry_of(alike[0]), "first": sorted(services)[0]}
    return (
        f"{subject} on {case.node} ({error}): {kind.rule.format_map(filled)}; {kind.fix.format_map(filled)}"
    )


RULES: tuple[Rule, ...] = (
    door,
    userland,
    memory,
    memory_cgroup,
    engine_there,
    engine_age,
    published_ports,
    runtimes,
    compose_age,
    engine_start,
    store_to_come,
    full_disk,
    disk_to_come,
    images,
)


def node_complaints(found: Mapping[str, Any], node: str, wanted: Mapping[str, Any]) -> list[str]:
    """Return one sentence per thing on a node that stands in the way of its services; an empty list is good.

    `found`: board {machine (`uname -m`), bits of the userland, memory_mb (MiB or None), l4t (release of a
    Jetson's system or ""), held: engine packages of a Jetson that apt leaves alone, absent: programs of
    runtimes that are not there}; memory_cgroup {on: bool or None, evidence, cmdline: file of the kernel's
    arguments or ""}; engine {absent: bool, version, api}; compose (version, "" if absent, None if not asked);
    starting (None: nothing new to start with) {file: daemon.json to come, command: what starts the engine,
    said: why it does not take the file, "" or None where it cannot tell, swarm: bool, store: what it keeps
    its data with {root, root_to_come, driver, in_containerd, remapped; the last three may be None},
    containers: bool, of the project}; volumes of the project; disks [{path, mount, device, docker: data lies
    here, of several in the last, free_mb, size_mb}] in MiB; images: name -> None (not asked) or {status
    (HTTP, None if not asked), message, platforms}; door: None, or who cannot log in with a key, {user, host,
    port, key (file; each may be None), said}, or {by: the connection with which nobody tried}.
    `wanted`: containers (bool: any), engine {source, packages and coming {engine, compose}: what brings them,
    whether this run installs them, oldest {engine, api, compose}}, disk_floor_mb (MiB), disk_budget (bool),
    disk_reserved_gb and coming_gb {service: GiB of those that are not there yet}, architecture, memory_mb
    (MiB, None: any is enough), packages this run installs, images {name: services}.
    """
    case = Case(node, found, wanted)
    return [complaint for rule in RULES for complaint in rule(case)]


class FilterModule:
    """Ansible's entry point to this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {"node_complaints": node_complaints}
