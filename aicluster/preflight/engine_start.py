"""What an engine does with the daemon.json to come when it starts: refuses it, or hides what is there."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# What a flag of dockerd says changes with no file.
ROOT_FLAGS, USER_FLAGS = ("--data-root", "--graph", "-g"), ("--userns-remap",)
# What the log driver `journald` takes, and every driver; with any other option the engine does not start.
LOG_OPTIONS = {"labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
OPTIONS = "docker_engine_options in host_vars/<address>/node.yml"
DAEMON_FILE = "/etc/docker/daemon.json"
UNIT = "`systemctl cat docker`, /etc/default/docker"


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
    file = start["file"]
    if start["said"]:
        words = " ".join(start["said"].split()).rpartition("/dev/stdin: ")[2]
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
    written = mapping(file.get("log-opts")) if file.get("log-driver") == "journald" else {}
    others = [name for name in sorted({*written} - LOG_OPTIONS) if not name.startswith("cache-")]
    if others:
        yield (
            f"log-opts: {', '.join(others)}",
            "must be options of its log-driver, journald",
            f"take them out of {DAEMON_FILE} there, or keep their log-driver in {OPTIONS}",
        )


def store_changes(start: Mapping[str, Any], volumes: bool) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, value now, value to come, fix) of what hides containers, or `volumes`, that are there."""
    file, store = start["file"], start["store"]
    flags = {word.partition("=")[0] for word in start["command"]}
    now, then, remaps = store["root"], store["root_to_come"], bool(file.get("userns-remap"))
    has_data = volumes or start["containers"]
    if has_data and now != then and flags.isdisjoint(ROOT_FLAGS):
        yield (
            "data-root",
            now,
            then,
            "move the data first: `sudo docker stop $(sudo docker ps -q)`, `sudo systemctl stop docker "
            f"docker.socket`, `sudo rsync -aHAX {now}/ {then}/`, data-root into {DAEMON_FILE} there, `sudo "
            "systemctl start docker`",
        )
    if has_data and differs(store["remapped"], remaps) and flags.isdisjoint(USER_FLAGS):
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
