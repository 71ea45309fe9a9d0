"""What an engine does with the daemon.json to come when it starts: refuses it, or hides what is there."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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


def start_faults(start: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (value, rule, fix) of what an engine refuses to start with.

    Its own check says most; with what that misses the engine gets its old file back: `engine_start.release`.
    """
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


def store_changes(start: Mapping[str, Any], volumes: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, value now, value to come, fix) of what hides containers, or `volumes`, that are there."""
    file, store, flags = start["file"], start["store"], set(flags_of(start["command"]))
    now, then, remaps = store["root"], store["root_to_come"], bool(file.get("userns-remap"))
    has_data = volumes or start["containers"]
    # What a flag says changes with no file.
    if has_data and now != then and not {"data-root", "graph", "g"} & flags:
        yield (
            "data-root",
            now,
            then,
            "move the data first: `sudo docker stop $(sudo docker ps -q)`, `sudo systemctl stop docker "
            f"docker.socket`, `sudo rsync -aHAX {now}/ {then}/`, data-root into {DAEMON_FILE} there, `sudo "
            "systemctl start docker`",
        )
    if has_data and differs(store["remapped"], remaps) and "userns-remap" not in flags:
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
