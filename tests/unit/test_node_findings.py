"""Pure rules check what a node shows: a finding has one sentence, what a node cannot tell has none."""

import copy
from typing import Any

import pytest
from inspected import FOUND
from tables import cases

from aicluster.preflight.node import RULES, node_findings

ENGINE: dict[str, Any] = {
    "source": "docker", "packages": {"engine": "docker-ce", "compose": "docker-compose-plugin"},
    "coming": {"engine": False, "compose": False},
    "oldest": {"engine": "20.10", "api": "1.41", "compose": "2.26"},
}  # fmt: skip
WANTED: dict[str, Any] = {
    "only": "", "containers": True, "engine": ENGINE, "disk_floor_mb": 500, "disk_budget": True,
    "disk_reserved_gb": 8, "coming_gb": {}, "architecture": "arm64", "memory_mb": 1850, "packages": [],
    "firewall": None, "images": {"redis:8.10.1": ["redis"], "m:5000/x:1": ["x"], "m:5000/y:2": ["y"]},
    "one_major": {"postgres": "postgres:17.12"},
}  # fmt: skip


def put(tree, changes):
    """A copy of `tree` with `a.b.c` set to a value for each of `changes`."""
    changed = copy.deepcopy(tree)
    for path, value in changes.items():
        *folders, last = path.split(".")
        place = changed
        for folder in folders:
            place = place[int(folder) if isinstance(place, list) else folder]
        place[last] = value
    return changed


def findings(found=None, wanted=None):
    return node_findings(put(FOUND, found or {}), "PI41", put(WANTED, wanted or {}))


COMING = {"engine.coming": {"engine": True, "compose": True}}
BOARD = {"engine": {**ENGINE, "source": "board", "packages": {}}}
NO_ENGINE = {"engine": {"absent": True, "version": "", "api": ""}, "compose": None}
NO_KEY = {
    "user": "ansible", "host": "10.0.0.5", "port": 2222, "key": "/my keys/id",
    "said": "Permission denied (publickey)",
}  # fmt: skip
HARDWARE = "group_vars/<board>/hardware.yml"
BOARD_FILES = f"{HARDWARE}, or, of this machine alone, host_vars/<address>/node.yml"
ENGINE_FILE = "roles/docker_engine/vars/main.yml"
WAYS_OUT = (
    "update to JetPack 6.2.1, or install docker-ce 5:27.5.1 there and `sudo apt-mark hold docker-ce "
    f"docker-ce-cli`, or have the board's own engine: `docker_engine_source: board` in {HARDWARE}"
)
NO_PORTS = "must be 36.4.4 (JetPack 6.2.1) or newer, or Docker Engine 28.0 and newer cannot publish ports"

OTHER_BUILDS = {"status": 200, "message": "", "platforms": ["linux/amd64", "unknown/unknown"]}
OLD_DATA = {"replaced": {"postgres": {"image": "m:5000/postgres:16.4"}, "redis": {"image": "redis:1"}}}

FIREWALL: dict[str, Any] = {
    "firewall": {"others": "refuse", "login": ["192.168.1.10", "10.8.0.0/24"], "ports": ["22"]}
}
OFF = "`site_firewall: false` for PI41"


def met(**what: Any) -> dict[str, Any]:
    """What a firewall of ours would meet: nothing, but for `what`."""
    return {
        "firewalls": {"others": [], "nf_tables": True, "peer": "192.168.1.10", "sshd": "22", "bridges": []}
        | what
    }


@cases(("found", "wanted", "sentence"), {
    **{f"a firewall of the user's own, {other}": (met(others=[other]), FIREWALL,
        f"firewall of PI41 {other}: must not be there beside the toolkit's, or nobody can tell which of them "
        f"closes a port; {fix} there, {OFF}, or `firewall_with_others: beside`, with which both apply")
        for other, fix in {
            "ufw": "`sudo ufw disable`", "firewalld": "`sudo systemctl disable --now firewalld`",
            "chain in of nftables table ip mine": "take it off"}.items()},
    "a kernel that has no nftables": (met(nf_tables=False), FIREWALL,
        "kernel of PI41 without nf_tables: must have them for the firewall; one with CONFIG_NF_TABLES, "
        f"CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE and CONFIG_NFT_FIB_INET, or {OFF}, "
        "which leaves its ports open to the LAN"),
    "a port that only ssh's own configuration names": (met(sshd="2222"), FIREWALL,
        "port of sshd on PI41 2222, as it sees this run: must be one that the firewall opens "
        "(22); set `ansible_port: 2222` in host_vars/<address>/node.yml, or, where a router forwards another "
        "port to it, add it to firewall_own_ports"),
    "an interface that looks like one of Docker's": (met(bridges=["br-lan"]), FIREWALL,
        "interface br-lan of PI41: must not begin with br-, as Docker's bridges do, to which the firewall "
        f"lets everything; rename it, or {OFF}"),
    "a way in that is not tried before passwords end": ({"key_login": {"by": "paramiko_ssh"}}, {},
        "connection paramiko_ssh to PI41: must be ssh in a run that ends logins with a password, because "
        "it tries a key first; run this once with `-e ansible_connection=ssh`, without Mitogen"),
    "a 32-bit system under a 64-bit kernel": ({"board.bits": 32}, {},
        "system of PI41 32-bit (kernel aarch64): must be 64-bit, as the images are; install the 64-bit one, "
        "of Raspberry Pi OS `arm64`"),
    "a machine of another architecture": ({"board.machine": "x86_64"}, {},
        f"architecture of PI41 amd64: must be its node_architecture, arm64; correct that in {BOARD_FILES}"),
    "a board of 4 GB that is said to have 8": ({"board.memory_mb": 3791}, {"memory_mb": 8000},
        "memory of PI41 3791 MiB (MemTotal): must be 95 % of its node_memory_mb, 8000, at least; correct "
        f"that in {BOARD_FILES}"),
    "an engine to be installed that is too new for the Jetson's kernel": ({"board.l4t": "36.4.3"}, COMING,
        f"L4T of PI41 36.4.3: {NO_PORTS}, and this run would install the newest docker-ce; {WAYS_OUT}"),
    "an engine that is there and too new for the Jetson's kernel": (
        {"board.l4t": "36.3.0", "engine.version": "28.0.1"}, BOARD,
        f"L4T of PI41 36.3.0: {NO_PORTS}, and 28.0.1 is there; {WAYS_OUT}"),
    "a Jetson without NVIDIA's container runtime": ({"board.absent": ["nvidia-container-runtime"]}, {},
        "program nvidia-container-runtime of PI41 absent: must be there, because docker_engine_runtimes "
        "names it; `sudo apt-get install nvidia-container-toolkit` there"),
    "one role alone without the engine": (NO_ENGINE, {"only": "redis"},
        "Docker Engine of PI41 absent: must be there before role redis; put the role docker_engine before "
        "it, as in `roles: [docker_engine, redis]`"),
    "no engine and none that is going to be installed": (NO_ENGINE, BOARD,
        "Docker Engine of PI41 absent: must be there, because docker_engine_source is board and installs "
        f"none; `sudo apt-get install docker.io` there, or another docker_engine_source in {HARDWARE}"),
    "an engine that is too old": ({"engine.version": "19.03.15", "engine.api": "1.40"}, {},
        f"Docker Engine of PI41 19.03.15 (API 1.40): must be 20.10 (API 1.41) or newer, {ENGINE_FILE}; "
        "`sudo apt-get update && sudo apt-get install --only-upgrade docker-ce` there"),
    "a board without the compose plugin": ({"compose": ""}, BOARD,
        f"compose plugin of PI41 absent: must be 2.26 or newer, {ENGINE_FILE}; put "
        "docker-compose-linux-aarch64 of a newer release there as "
        "/usr/local/lib/docker/cli-plugins/docker-compose, mode 0755"),
    "an image that was not built for the board": ({"images": {"redis:8.10.1": OTHER_BUILDS}}, {},
        "image redis:8.10.1 of service redis on PI41 (no build for linux/arm64, only linux/amd64): must be "
        "built for the node's architecture; take a tag that is, or another image, for redis in "
        "roles/redis/meta/service.yml"),
    "data of another major version": (
        OLD_DATA, {},
        "image of postgres on PI41 postgres:17.12: must be of the major version of m:5000/postgres:16.4, as "
        "no other reads its data; set that one, or do what docs/restore.md#another-major-version says"),
})  # fmt: skip
def test_a_finding_is_named_with_node_value_rule_and_fix(found, wanted, sentence):
    assert findings(found, wanted) == [sentence]


CGROUP_OFF: dict[str, Any] = {"on": False, "evidence": "not in /sys", "cmdline": ""}
ARGUMENTS = "cgroup_enable=memory cgroup_memory=1"


@pytest.mark.parametrize(("cmdline", "fix"), [
    ("/boot/cmdline.txt", f"`sudo sed -i '1s/$/ {ARGUMENTS}/' /boot/cmdline.txt && sudo reboot`"),
    ("/boot/extlinux.conf",
        f"append `{ARGUMENTS}` to the kernel's arguments (APPEND) in /boot/extlinux.conf and reboot"),
    ("", f"append `{ARGUMENTS}` to GRUB_CMDLINE_LINUX in /etc/default/grub, then "
        "`sudo update-grub && sudo reboot`"),
], ids=["a Raspberry Pi", "a Jetson", "another machine"])  # fmt: skip
def test_a_memory_cgroup_that_is_off_is_mended_as_its_machine_needs_it(cmdline, fix):
    assert findings({"memory_cgroup": {**CGROUP_OFF, "cmdline": cmdline}}) == [
        "memory cgroup of PI41 not in /sys: must be on, or the memory limit of every container is silently "
        f"ignored; {fix}"
    ]


COMMAND = ["/usr/sbin/dockerd", "-H", "fd://"]
STORE: dict[str, Any] = {
    "root": "/var/lib/docker", "root_to_come": "/var/lib/docker", "driver": "overlay2",
    "in_containerd": False, "remapped": False,
}  # fmt: skip
VOLUMES = {"volumes": ["postgres_data"]}


def start(file, *flags, said="", swarm=False, containers=True, **store):
    starting = {"file": file, "command": [*COMMAND, *flags], "said": said, "swarm": swarm}
    return {"starting": {**starting, "store": {**STORE, **store}, "containers": containers}}


DAEMON = "/etc/docker/daemon.json"
JOURNALD = {"log-driver": "journald"}
OUT_OF_FILE = f"its log-driver, journald, or the engine does not start again; take them out of {DAEMON}"
SAVE = "move the data first: save it, run playbooks/cleanup.yml there, put it back after this run"
ANEW = "`sudo docker compose -p aicluster down` there first"


# What of the engine's new file is wrong, and decisive words of the rule and the fix.
@cases(("found", "value", "said"), {
    "a file the engine itself refuses, with its flags": (
        start(JOURNALD, said="unable to configure with file /dev/stdin: log-driver: (from flag: x)"),
        "log-driver: (from flag: x)", "must be accepted by `/usr/sbin/dockerd -H fd://`"),
    "options of the log driver that was there before": (
        start({**JOURNALD, "log-opts": {"tag": "x", "max-size": "10m", "gelf-address": "udp://x"}}),
        "log-opts: gelf-address, max-size", OUT_OF_FILE),
    "users that are to be remapped, and volumes of those that are not": (
        {**start({"userns-remap": "default"}, containers=False), **VOLUMES},
        "userns-remap: default, until now off", SAVE),
    "users that are remapped no more": (start({}, remapped=True), "userns-remap: off, until now on", SAVE),
    "another storage driver": (
        start({"storage-driver": "btrfs"}), "storage-driver: btrfs, until now overlay2", ANEW),
    "containerd's store instead of the engine's": (start({"features": {"containerd-snapshotter": True}}),
        "features.containerd-snapshotter: true, until now false", ANEW),
})  # fmt: skip
def test_a_file_with_which_the_engine_would_not_start_or_hide_what_is_there_is_named(found, value, said):
    [finding] = findings(found)
    assert finding.startswith(f"new {DAEMON} of PI41 ({value}): must ") and said in finding


def answered(status, message, platforms=()):
    return {"status": status, "message": message, "platforms": list(platforms)}


def image(message, status=500):
    return {"images": {"redis:8.10.1": answered(status, message)}}


@pytest.mark.parametrize(("message", "said"), [
    ("manifest unknown", "docker.io has no such tag; look up which exist and correct image of redis in"),
    ("denied: requested access to the resource is denied", "or `sudo docker login docker.io` there"),
    ("server gave HTTP response to HTTPS client", "add `docker.io` to docker_engine_insecure_registries"),
    ("toomanyrequests: You have reached your pull rate limit", "too many requests"),
    ('Get "https://m/v2/": x509: certificate signed by unknown authority', "/etc/docker/certs.d/"),
    ("failed to register layer: write /x: no space left on device", "must fit on the disk"),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", "architecture"),
    ("pull access denied for minio/minio, repository does not exist", "no such image or wants a login"),
    ("a\nb  c", "(a b c): registry docker.io must be reachable"),
], ids=lambda text: text[:30] or "nothing")  # fmt: skip
def test_what_a_registry_says_leads_to_its_own_advice(message, said):
    [finding] = findings(image(message))
    assert said in finding


BESIDE = {"firewall": {"others": "beside", "login": ["fd00::/64"], "ports": ["2222", "22"]}}
ACCEPTED: dict[str, tuple[Any, ...]] = {
    "a run from a network of operators, and a kernel that says nothing": (
        met(peer="10.8.0.3", nf_tables=None), FIREWALL),
    "another firewall, by choice, and a run over IPv6": (met(others=["ufw"], peer="fd00::1%eth0"), BESIDE),
    "a kernel that keeps a little more": ({"board.memory_mb": 1758}, {}),
    "an old Jetson with an old engine": ({"board.l4t": "36.4.3", "engine.version": "27.5.1"}, {}),
    "an old Jetson on which the engine is held": (
        {"board.l4t": "36.4.3", "board.held": ["docker-ce"]}, COMING),
    **{
        f"a new engine on L4T {release}": ({"board.l4t": release, "engine.version": "28.5.2"}, {})
        for release in ("36.4.4", "36.5.2", "39.2.1", "35.6.4", "32.7.6")
    },
    "a runtime that a package of this run brings": (
        {"board.absent": ["/usr/bin/nvidia-container-runtime"]}, {"packages": ["nvidia-container-toolkit"]}),
    "a memory cgroup that cannot be told": ({"memory_cgroup": {"on": None}}, {}),
    "an old engine of another package, about to be replaced": ({"engine.api": "1.40"}, COMING),
    "an engine that is down": ({"engine.version": "", "engine.api": ""}, {}),
    "a compose plugin whose version has a letter": ({"compose": "v2.32.4"}, {}),
    "nothing that needs disk to come": ({"disks.2.free_mb": 900}, {"coming_gb": {"redis": 0}}),
    "a registry left to the pull": ({"images": {"redis:8.10.1": answered(None, "")}}, {}),
    "another minor version": ({"replaced": {"postgres": {"image": "m:5000/postgres:17.2@sha256:0"}}}, {}),
}  # fmt: skip
STARTS: dict[str, dict[str, Any]] = {
    "options of their own driver": start({"log-driver": "json-file", "log-opts": {"max-size": "1m"}}),
    "options of journald": start({**JOURNALD, "log-opts": {"tag": "x", "labels": "a", "env-regex": "b"}}),
    "options of every log driver": start({**JOURNALD, "log-opts": {"mode": "x", "cache-disabled": "true"}}),
    "a file that an old engine cannot check": start({"debug": True}, "-D", said=None),
    "a folder to come, and nothing yet": start({"data-root": "/d"}, root_to_come="/d", containers=False),
}
# Of a node that has containers and volumes.
SEEN_AGAIN: dict[str, dict[str, Any]] = {
    "a folder that a flag names": start({}, "--data-root=/d", root="/d"),
    "users that a flag remaps": start({}, "--userns-remap", "x", remapped=True),
    "the folder there is, written down": start({"data-root": "/d"}, root="/d", root_to_come="/d"),
    "users that stay remapped": start({"userns-remap": "x"}, remapped=True),
    "the storage driver there is": start({"storage-driver": "overlay2"}),
    "a storage driver, and only volumes": start({"storage-driver": "btrfs"}, containers=False),
    "containerd's store under another name": start(
        {"storage-driver": "overlay2", "features": {"containerd-snapshotter": True}}, driver="overlayfs",
        in_containerd=True),
}  # fmt: skip
ACCEPTED |= {why: (found, {}) for why, found in STARTS.items()}
ACCEPTED |= {why: ({**found, **VOLUMES}, {}) for why, found in SEEN_AGAIN.items()}


@pytest.mark.parametrize(("found", "wanted"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_right_or_cannot_be_told_has_no_sentence(found, wanted):
    assert findings(found, wanted) == []


def test_all_findings_of_a_node_are_named_at_once():
    found = {
        "board.bits": 32, "board.memory_mb": 900, "board.absent": ["nvidia-container-runtime"],
        "memory_cgroup": CGROUP_OFF, "engine.api": "1.40", "compose": "2.1", "disks.2.device": 2,
        "disks.2.free_mb": 1, "key_login": NO_KEY, **start({"live-restore": True}, swarm=True, root="/d"),
        **image("manifest unknown"), **OLD_DATA, **met(nf_tables=False),
    }  # fmt: skip
    # All but the ones about an engine that is not there, and one that is too new.
    assert len(findings(found, {"coming_gb": {"redis": 1}, **FIREWALL})) == len(RULES) - 2
