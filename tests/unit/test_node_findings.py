"""Pure rules check what a node shows: a finding has one sentence, what a node cannot tell has none."""

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspected import FOUND

from aicluster.preflight.images import registry_of
from aicluster.preflight.node import RULES, is_older, node_findings, version

NO_KEY = {
    "user": "ansible", "host": "10.0.0.5", "port": 2222, "key": "/my keys/id",
    "said": "Permission denied (publickey)",
}  # fmt: skip
WANTED: dict[str, Any] = {
    "only": "",
    "containers": True,
    "engine": {
        "source": "docker",
        "packages": {"engine": "docker-ce", "compose": "docker-compose-plugin"},
        "coming": {"engine": False, "compose": False},
        "oldest": {"engine": "20.10", "api": "1.41", "compose": "2.26"},
    },
    "disk_floor_mb": 500,
    "disk_budget": True,
    "disk_reserved_gb": 8,
    "coming_gb": {},
    "architecture": "arm64",
    "memory_mb": 1850,
    "packages": [],
    "images": {"redis:8.10.1": ["redis"], "ghcr.io/a/b:1": ["b"], "m:5000/x:1": ["x"], "m:5000/y:2": ["y"]},
}
BOARD = {"source": "board", "packages": {}}
COMING = {"engine": True, "compose": True}


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


def answered(status, message, platforms=()):
    return {"status": status, "message": message, "platforms": list(platforms)}


def image(message, name="redis:8.10.1", status=500):
    return {"images": {name: answered(status, message)}}


COMMAND = ["/usr/sbin/dockerd", "-H", "fd://"]


STORE: dict[str, Any] = {
    "root": "/var/lib/docker",
    "root_to_come": "/var/lib/docker",
    "driver": "overlay2",
    "in_containerd": False,
    "remapped": False,
}


def start(file, said="", swarm=False, flags=(), containers=True, **store):
    starting = {"file": file, "command": [*COMMAND, *flags], "said": said, "swarm": swarm}
    return {"starting": {**starting, "store": {**STORE, **store}, "containers": containers}}


VOLUMES = {"volumes": ["postgres_data"]}


OFF = {"on": False, "evidence": "not in /sys/fs/cgroup/cgroup.controllers"}

WAYS_OUT = (
    "; update to JetPack 6.2.1, or install docker-ce 5:27.5.1 there and `sudo apt-mark hold docker-ce "
    "docker-ce-cli`, or have the board's own engine: `docker_engine_source: board` in "
    "group_vars/<board>/hardware.yml"
)
NO_PORTS = (
    "must be 36.4.4 (JetPack 6.2.1) or newer, or Docker Engine 28.0 and newer cannot publish ports, and "
)

DAEMON = "/etc/docker/daemon.json"
TO_COME = f"new {DAEMON} of PI41"
NO_START = ", or the engine does not start again; "
ENGINE_OPTIONS = "docker_engine_options in host_vars/<address>/node.yml"
MEND_START = (
    f"{NO_START}correct {ENGINE_OPTIONS} or the key in {DAEMON} there, or take the flag out where it is "
    "given (`systemctl cat docker`, /etc/default/docker)"
)
MEND_RUNTIME = (
    f"{NO_START}correct docker_engine_runtimes in group_vars/<board>/hardware.yml, or {DAEMON} there"
)
MOVE = (
    "move the data first: `sudo docker stop $(sudo docker ps -q)`, `sudo systemctl stop docker "
    f"docker.socket`, `sudo rsync -aHAX /var/lib/docker/ /mnt/d/`, data-root into {DAEMON} there, `sudo "
    "systemctl start docker`"
)
SAVE = "move the data first: save it, run playbooks/cleanup.yml there, put it back after this run"
ANEW = "`sudo docker compose -p aicluster down` there first: volumes stay, this run makes containers anew"
FLAGS_THERE = "where the flags are given (`systemctl cat docker`, /etc/default/docker)"
NOT_BOTH_OFF = "must not both be off: icc is turned off by means of iptables"
NOT_BOTH_SET = "must not both be set: a bridge that is there has its address"
DISK = {"mount": "/x", "device": 7, "docker": False, "free_mb": 20480, "size_mb": 29696}

REFUSED = [
    pytest.param({"key_login": {"by": "paramiko_ssh"}}, {},
        "connection paramiko_ssh to PI41: must be ssh in a run that ends logins with a password, because "
        "it tries a key first; run this once with `-e ansible_connection=ssh`, without Mitogen",
        id="a way in that is not tried before passwords end"),
    pytest.param({"board.bits": 32}, {},
        "system of PI41 32-bit (kernel aarch64): must be 64-bit, as the images are; install the 64-bit one, "
        "of Raspberry Pi OS `arm64`", id="a 32-bit system under a 64-bit kernel"),
    pytest.param({"board.machine": "x86_64"}, {},
        "architecture of PI41 amd64: must be its node_architecture, arm64; correct that in "
        "group_vars/<board>/hardware.yml, or, of this machine alone, host_vars/<address>/node.yml",
        id="a machine of another architecture"),
    pytest.param({"board.memory_mb": 3791}, {"memory_mb": 8000},
        "memory of PI41 3791 MiB (MemTotal): must be 95 % of its node_memory_mb, 8000, at least; correct "
        "that in group_vars/<board>/hardware.yml, or, of this machine alone, host_vars/<address>/node.yml",
        id="a board of 4 GB that is said to have 8"),
    pytest.param({"board.l4t": "36.4.3"}, {"engine.coming": COMING},
        f"L4T of PI41 36.4.3: {NO_PORTS}this run would install the newest docker-ce{WAYS_OUT}",
        id="an engine to be installed that is too new for the Jetson's kernel"),
    pytest.param({"board.l4t": "36.3.0", "engine.version": "28.0.1"},
        {"engine": {**WANTED["engine"], **BOARD}}, f"L4T of PI41 36.3.0: {NO_PORTS}28.0.1 is there{WAYS_OUT}",
        id="an engine that is there and too new for the Jetson's kernel"),
    pytest.param({"key_login": {**NO_KEY, "port": None, "key": None}}, {},
        "login of ansible@10.0.0.5 on PI41 with a key, in a new connection: Permission denied (publickey): "
        "must work before this run ends logins with a password; `ssh-copy-id ansible@10.0.0.5` (`ssh-keygen` "
        "first, if you have no key)", id="a user who logs in with a password only"),
    pytest.param({"key_login": NO_KEY}, {},
        "login of ansible@10.0.0.5 on PI41 with a key, in a new connection: Permission denied (publickey): "
        "must work before this run ends logins with a password; `ssh-copy-id -i '/my keys/id' -p 2222 "
        "ansible@10.0.0.5` (`ssh-keygen` first, if you have no key)",
        id="a key of one's own, its path with a space, and another port"),
    pytest.param({"board.absent": ["nvidia-container-runtime"]}, {},
        "program nvidia-container-runtime of PI41 absent: must be there, because docker_engine_runtimes "
        "names it; `sudo apt-get install nvidia-container-toolkit` there",
        id="a Jetson without NVIDIA's container runtime"),
    pytest.param({"board.absent": ["/opt/kata/bin/kata"]}, {"packages": ["nvidia-container-toolkit"]},
        "program /opt/kata/bin/kata of PI41 absent: must be there, because docker_engine_runtimes names it; "
        "install it there", id="a runtime nobody here knows the package of"),
    pytest.param({"memory_cgroup": {**OFF, "cmdline": "/boot/firmware/cmdline.txt"}}, {},
        "memory cgroup of PI41 not in /sys/fs/cgroup/cgroup.controllers: must be on, or the memory limit of "
        "every container is silently ignored; `sudo sed -i '1s/$/ cgroup_enable=memory cgroup_memory=1/' "
        "/boot/firmware/cmdline.txt && sudo reboot`", id="the memory cgroup is off on a Raspberry Pi"),
    pytest.param({"memory_cgroup": {**OFF, "cmdline": "/boot/extlinux/extlinux.conf"}}, {},
        "memory cgroup of PI41 not in /sys/fs/cgroup/cgroup.controllers: must be on, or the memory limit of "
        "every container is silently ignored; append `cgroup_enable=memory cgroup_memory=1` to the kernel's "
        "arguments (APPEND) in /boot/extlinux/extlinux.conf and reboot",
        id="the memory cgroup is off on a Jetson"),
    pytest.param({"memory_cgroup": {**OFF, "cmdline": ""}}, {},
        "memory cgroup of PI41 not in /sys/fs/cgroup/cgroup.controllers: must be on, or the memory limit of "
        "every container is silently ignored; append `cgroup_enable=memory cgroup_memory=1` to "
        "GRUB_CMDLINE_LINUX in /etc/default/grub, then `sudo update-grub && sudo reboot`",
        id="the memory cgroup is off elsewhere"),
    pytest.param({"engine": {"absent": True, "version": "", "api": ""}, "compose": None}, {"only": "redis"},
        "Docker Engine of PI41 absent: must be there before role redis; put the role docker_engine before "
        "it, as in `roles: [docker_engine, redis]`", id="one role alone without the engine"),
    pytest.param({"engine": {"absent": True, "version": "", "api": ""}, "compose": None},
        {"engine": {**WANTED["engine"], **BOARD}},
        "Docker Engine of PI41 absent: must be there, because docker_engine_source is board and installs "
        "none; `sudo apt-get install docker.io` there, or another docker_engine_source in "
        "group_vars/<board>/hardware.yml", id="no engine and none that is going to be installed"),
    pytest.param({"engine": {"absent": False, "version": "19.03.15", "api": "1.40"}}, {},
        "Docker Engine of PI41 19.03.15 (API 1.40): must be 20.10 (API 1.41) or newer, "
        "roles/docker_engine/vars/main.yml; `sudo apt-get update && sudo apt-get install --only-upgrade "
        "docker-ce` there", id="an engine that is too old"),
    pytest.param({"compose": "2.17.3"}, {},
        "compose plugin of PI41 2.17.3: must be 2.26 or newer, roles/docker_engine/vars/main.yml; "
        "`sudo apt-get update && sudo apt-get install docker-compose-plugin` there",
        id="a compose plugin that is too old"),
    pytest.param({"compose": ""}, {"engine": {**WANTED["engine"], **BOARD}},
        "compose plugin of PI41 absent: must be 2.26 or newer, roles/docker_engine/vars/main.yml; put "
        "docker-compose-linux-aarch64 of a newer release there as "
        "/usr/local/lib/docker/cli-plugins/docker-compose, mode 0755",
        id="a board without the compose plugin"),
    pytest.param({"disks.0.free_mb": 120, "disks.1.free_mb": 120, "disks.2.device": 2}, {},
        "disk of / and /opt/aicluster (file system /) on PI41 120 MiB free of 29.0 GiB: must have 500 MiB "
        "(stack_disk_floor_mb); see `sudo du -xh --max-depth=2 / | sort -h | tail`; "
        "`sudo docker image prune --all` there frees unused images",
        id="a full disk, named once for all that lies on it"),
    pytest.param({"disks": [*FOUND["disks"], {**DISK, "path": "/var/lib/containerd", "mount": "/var/lib",
        "free_mb": 80}]},
        {}, "disk of /var/lib/containerd (file system /var/lib) on PI41 80 MiB free of 29.0 GiB: must have "
        "500 MiB (stack_disk_floor_mb); see `sudo du -xh --max-depth=2 /var/lib | sort -h | tail`; "
        "`sudo docker image prune --all` there frees unused images",
        id="a full disk that images alone lie on"),
    pytest.param({"disks": [*FOUND["disks"], {**DISK, "path": "/srv/docker/volumes", "docker": True,
        "free_mb": 2048}]},
        {"coming_gb": {"redis": 1}},
        "disk of /srv/docker/volumes on PI41 2.0 GiB free of 29.0 GiB: must hold the 9 GiB still to come "
        "(redis 1, 8 reserved); free space there, lower disk_gb of a service in "
        "group_vars/<tier>/services.yml, or move Docker's data to a bigger disk (data-root in "
        "/etc/docker/daemon.json)", id="services to come that do not fit where volumes lie"),
    pytest.param(start({"log-driver": "journald"},
        "unable to configure with file /dev/stdin: log-driver: (from flag: x)"),
        {}, f"{TO_COME} (log-driver: (from flag: x)): must be accepted by "
        f"`/usr/sbin/dockerd -H fd://`{MEND_START}", id="a file the engine itself refuses, with its flags"),
    pytest.param(start({"hosts": [], "log-opts": {}, "debug": True}, None, flags=["-D", "--log-opt=a=b",
        "--group", "x"]),
        {}, f"{TO_COME} (specified both as a flag and in the configuration file: debug, "
        "hosts, log-opts): must be accepted by `/usr/sbin/dockerd -H fd:// -D --log-opt=a=b --group x`"
        f"{MEND_START}", id="flags and keys of one meaning, with an engine too old to say so"),
    pytest.param(start({"live-restore": True}, swarm=True), {},
        f"{TO_COME} (live-restore: true): must be off on a member of a swarm{NO_START}`sudo docker swarm "
        f"leave` there, or `live-restore: false` in {ENGINE_OPTIONS}",
        id="live-restore on a member of a swarm"),
    pytest.param(start({"log-driver": "journald", "log-opts": {"tag": "x", "max-size": "10m",
        "max-file": "3"}}),
        {}, f"{TO_COME} (log-opts: max-file, max-size): must be options of its log-driver, journald{NO_START}"
        f"take them out of {DAEMON} there, or keep their log-driver in {ENGINE_OPTIONS}",
        id="options of the log driver that was there before"),
    *(
        pytest.param(start(file, flags=flags), {},
            f"{TO_COME} (log-opts: {others}): must be options of its log-driver, journald{NO_START}"
            f"take them out {where}, or keep their log-driver in {ENGINE_OPTIONS}", id=why)
        for file, flags, others, where, why in (
            ({"log-driver": "journald", "log-opts": {"gelf-address": "udp://x", "mode": "non-blocking"}}, (),
                "gelf-address", f"of {DAEMON} there", "an option of a log driver that is far away"),
            ({"log-driver": "journald"}, ("--log-opt", "max-size=10m", "--log-opt=tag=x"), "max-size",
                FLAGS_THERE, "an option of another log driver on the engine's command line"),
            ({"log-opts": {"max-size": "1m"}}, ("--log-driver=journald",), "max-size", f"of {DAEMON} there",
                "a log driver on the engine's command line that does not know the options of the file"),
        )
    ),
    *(
        pytest.param(start(file, flags=flags), {},
            f"{TO_COME} ({said}): {rule}{NO_START}take one of them out of {ENGINE_OPTIONS}, "
            f"of {DAEMON} there, or of the flags there (`systemctl cat docker`, /etc/default/docker)", id=why)
        for file, flags, said, rule, why in (
            ({"iptables": False, "icc": False}, (), "iptables: false, icc: false", NOT_BOTH_OFF,
                "no iptables and no icc"),
            ({"icc": False}, ("--iptables=false",), "iptables: false, icc: false", NOT_BOTH_OFF,
                "no icc, and a flag that turns iptables off"),
            ({"bridge": "br0", "bip": "10.9.0.1/24"}, (), "bridge: br0, bip: 10.9.0.1/24", NOT_BOTH_SET,
                "a bridge that is there, and an address for the engine's own"),
            ({"bip": "10.9.0.1/24"}, ("-b", "br0"), "bridge: br0, bip: 10.9.0.1/24", NOT_BOTH_SET,
                "an address for the engine's own bridge, and a flag that names another"),
        )
    ),
    *(
        pytest.param(found, {},
            f"{TO_COME} ({said}): must be what containers and volumes of the project were made with, or the "
            f"engine starts with none of them; {fix}; or leave {said.partition(':')[0]} as it was, "
            f"{ENGINE_OPTIONS} or the file there", id=why)
        for found, said, fix, why in (
            ({**start({"data-root": "/mnt/d"}, root_to_come="/mnt/d", containers=False), **VOLUMES},
                "data-root: /mnt/d, until now /var/lib/docker", MOVE,
                "another folder, and volumes in the one there is"),
            (start({"data-root": "/mnt/d"}, root_to_come="/mnt/d"),
                "data-root: /mnt/d, until now /var/lib/docker", MOVE,
                "another folder, and containers in the one there is"),
            ({**start({}, root="/mnt/d", containers=False), **VOLUMES},
                "data-root: /var/lib/docker, until now /mnt/d",
                MOVE.replace("/var/lib/docker/ /mnt/d/", "/mnt/d/ /var/lib/docker/"),
                "a file that names the folder with the volumes no more"),
            ({**start({"userns-remap": "default"}, containers=False), **VOLUMES},
                "userns-remap: default, until now off", SAVE,
                "users that are to be remapped, and volumes of those that are not"),
            (start({}, remapped=True), "userns-remap: off, until now on", SAVE,
                "users that are remapped no more"),
            (start({"storage-driver": "btrfs"}), "storage-driver: btrfs, until now overlay2", ANEW,
                "another storage driver"),
            (start({"features": {"containerd-snapshotter": True}}),
                "features.containerd-snapshotter: true, until now false", ANEW,
                "containerd's store instead of the engine's"),
            (start({"features": {"containerd-snapshotter": False}}, driver="overlayfs", in_containerd=True),
                "features.containerd-snapshotter: false, until now true", ANEW,
                "the engine's store instead of containerd's"),
        )
    ),
    pytest.param(start({"default-runtime": "nvidia", "runtimes": {"kata": {"path": "kata"}}}), {},
        f"{TO_COME} (default-runtime: nvidia): must be among its runtimes{MEND_RUNTIME}",
        id="a default runtime that is none"),
    *(
        pytest.param(start({"runtimes": {name: runtime}}), {},
            f"{TO_COME} (runtime {name}): must have a name other than runc, and "
            f"either path or runtimeType{MEND_RUNTIME}", id=why)
        for name, runtime, why in (
            ("runc", {"path": "x"}, "a runtime with the name of the engine's own"),
            ("x", {}, "a runtime of neither path nor type"),
            ("x", {"path": "x", "runtimeType": "io.x"}, "a runtime of both path and type"),
            ("x", None, "a runtime of nothing"),
        )
    ),
    pytest.param({}, {"coming_gb": {"postgres": 100, "redis": 1, "nginx": 0}},
        "disk of /var/lib/docker on PI41 20.0 GiB free of 29.0 GiB: must hold the 109 GiB still to come "
        "(postgres 100, redis 1, 8 reserved); free space there, lower disk_gb of a service in "
        "group_vars/<tier>/services.yml, or move Docker's data to a bigger disk (data-root in "
        "/etc/docker/daemon.json)", id="services to come that do not fit on the disk"),
    pytest.param(image("manifest unknown: manifest unknown", status=404), {},
        "image redis:8.10.1 of service redis on PI41 (manifest unknown: manifest unknown): registry "
        "docker.io has no such tag; look up which exist and correct image of redis in "
        "roles/redis/meta/service.yml", id="a tag that was removed"),
    pytest.param(image("manifest for redis:8.10.1 not found: manifest unknown: manifest unknown"), {},
        "image redis:8.10.1 of service redis on PI41 (manifest for redis:8.10.1 not found: manifest unknown: "
        "manifest unknown): registry docker.io has no such tag; look up which exist and correct image of "
        "redis in roles/redis/meta/service.yml", id="a tag that was removed, as a pull says it"),
    pytest.param(image("denied: requested access to the resource is denied", status=403), {},
        "image redis:8.10.1 of service redis on PI41 (denied: requested access to the resource is denied): "
        "must be there for everyone, but registry docker.io has no such image or wants a login; look it up "
        "and correct image of redis in roles/redis/meta/service.yml, or `sudo docker login docker.io` there",
        id="a repository that was removed, or a private one"),
    pytest.param(image('Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host', "ghcr.io/a/b:1"),
        {},
        'image ghcr.io/a/b:1 of service b on PI41 (Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no '
        "such host): registry ghcr.io must be reachable from the node; check name, network and proxy of the "
        "node (`sudo systemctl edit docker`, Environment=HTTPS_PROXY=...), or name a mirror it can reach: "
        "site_image_mirror in group_vars/all/images.yml", id="a registry that cannot be reached"),
    pytest.param({"images": {name: answered(500, "dial tcp: i/o timeout") for name in ("m:5000/x:1",
        "m:5000/y:2")}},
        {},
        "images of services x and y on PI41 (dial tcp: i/o timeout): registry m:5000 must be reachable from "
        "the node; check name, network and proxy of the node (`sudo systemctl edit docker`, "
        "Environment=HTTPS_PROXY=...), or name a mirror it can reach: site_image_mirror in "
        "group_vars/all/images.yml", id="a registry that cannot be reached, named once for all its images"),
    pytest.param(image("http: server gave HTTP response to HTTPS client", "m:5000/x:1"), {},
        "image m:5000/x:1 of service x on PI41 (http: server gave HTTP response to HTTPS client): registry "
        "m:5000 must speak TLS or be named as one that does not; add `m:5000` to "
        "docker_engine_insecure_registries in group_vars/all/images.yml", id="a mirror without TLS"),
    pytest.param({"images": {"redis:8.10.1": answered(200, "", ["linux/amd64", "unknown/unknown"])}}, {},
        "image redis:8.10.1 of service redis on PI41 (no build for linux/arm64, only linux/amd64): must be "
        "built for the node's architecture; take a tag that is, or another image, for redis in "
        "roles/redis/meta/service.yml", id="an image that was not built for the board"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "wanted", "sentence"), REFUSED)
def test_a_finding_is_named_with_node_value_rule_and_fix(found, wanted, sentence):
    assert findings(found, wanted) == [sentence]


@pytest.mark.parametrize(("message", "said"), [
    ("toomanyrequests: You have reached your pull rate limit", "too many requests"),
    ('Get "https://m/v2/": x509: certificate signed by unknown authority', "/etc/docker/certs.d/"),
    ("failed to register layer: write /x: no space left on device", "must fit on the disk"),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", "architecture"),
    ("proxyconnect tcp: Forbidden", "proxy of the node"),
    ("pull access denied for minio/minio, repository does not exist", "no such image or wants a login"),
    ("received unexpected HTTP status: 502 Bad Gateway", "must be reachable"),
    ("", "status 500"),
], ids=lambda text: text[:30] or "nothing")  # fmt: skip
def test_what_a_registry_says_leads_to_its_own_advice(message, said):
    [finding] = findings(image(message))
    assert said in finding


NEW, OLD = "28.5.2", "27.5.1"
ACCEPTED = [
    pytest.param({}, {}, id="a node as it should be"),
    pytest.param({"board.machine": "x86_64"}, {"architecture": "amd64"}, id="a node of the lab"),
    pytest.param({"board.memory_mb": 1758}, {}, id="a kernel that keeps a little more"),
    pytest.param({"board.memory_mb": 64000}, {}, id="more memory than was said"),
    pytest.param({"board.memory_mb": None}, {}, id="memory that cannot be told"),
    pytest.param({"board.memory_mb": 1}, {"memory_mb": None},
        id="nodes that share the memory of one machine"),
    pytest.param({"board.l4t": "36.4.3", "engine.version": OLD}, {}, id="an old Jetson with an old engine"),
    pytest.param({"board.l4t": "36.4.3", "board.held": ["docker-ce"]}, {"engine.coming": COMING},
        id="an old Jetson on which the engine is held"),
    pytest.param({"board.l4t": "36.4.3", "engine": {"absent": True, "version": "", "api": ""}},
        {"engine.coming": COMING, "engine.source": "distro"},
        id="an old Jetson that gets the engine of its distribution, whichever that is"),
    pytest.param({"board.absent": ["/usr/bin/nvidia-container-runtime"]},
        {"packages": ["nvidia-container-toolkit"]}, id="a runtime that a package of this run brings"),
    *(
        pytest.param({"board.l4t": release, "engine.version": NEW}, {}, id=f"a new engine on L4T {release}")
        for release in ("36.4.4", "36.4.7", "36.5.2", "39.2.1", "35.6.4", "32.7.6")
    ),
    pytest.param({"memory_cgroup": {**OFF, "cmdline": ""}}, {"containers": False},
        id="no container to limit"),
    pytest.param({"memory_cgroup": {"on": None}}, {}, id="a memory cgroup that cannot be told"),
    pytest.param({"engine": {"absent": True, "version": "", "api": ""}, "compose": None},
        {"engine.coming": {"engine": True, "compose": True}},
        id="no engine, and one that is about to be installed"),
    pytest.param({"engine": {"absent": False, "version": "19.03", "api": "1.40"}},
        {"engine.coming": {"engine": True, "compose": True}},
        id="an old engine of another package, about to be replaced"),
    pytest.param({"engine": {"absent": False, "version": "20.10.21", "api": "1.41"}}, {},
        id="the engine of JetPack 4"),
    pytest.param({"engine": {"absent": False, "version": "", "api": ""}}, {}, id="an engine that is down"),
    pytest.param(start({"live-restore": True, "hosts": []}), {}, id="a file the engine takes with its flags"),
    pytest.param(start({"live-restore": False}, swarm=True), {}, id="a swarm without live-restore"),
    pytest.param(start({"log-driver": "json-file", "log-opts": {"max-size": "1m"}}), {},
        id="options of their own driver"),
    pytest.param(start({"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "x"},
        "w": {"runtimeType": "y"}}}),
        {}, id="a default runtime of the file"),
    *(
        pytest.param(start({"log-driver": "journald", **file}, flags=flags), {}, id=why)
        for file, flags, why in (
            ({"log-opts": None, "runtimes": None, "default-runtime": None}, (), "keys without a value"),
            ({"log-opts": {"tag": "x", "labels": "a", "env-regex": "b"}}, (), "options of journald"),
            ({"log-opts": {"mode": "non-blocking", "max-buffer-size": "1m", "cache-disabled": "true"}}, (),
                "options of every log driver"),
            ({}, ("--log-opt", "tag=x"), "an option of journald on the engine's command line"),
            ({"iptables": False}, (), "no iptables"),
            ({"icc": False, "iptables": True}, (), "no icc"),
            ({"icc": False}, ("--iptables", "--debug"), "no icc, and a flag that turns iptables on"),
            ({"bridge": "", "bip": "10.9.0.1/24"}, (), "an address for the engine's own bridge"),
        )
    ),
    *(
        pytest.param({**start(file, **there), **volumes}, {}, id=why)
        for file, there, volumes, why in (
            ({"data-root": "/d"}, {"root_to_come": "/d", "containers": False}, {},
                "a folder to come, nothing yet"),
            ({"data-root": "/d"}, {"root": "/d", "root_to_come": "/d"}, VOLUMES,
                "the folder there is, written down"),
            ({}, {"root": "/d", "flags": ["--data-root=/d"]}, VOLUMES, "a folder that a flag names"),
            ({}, {"remapped": True, "flags": ["--userns-remap=x"]}, VOLUMES, "users that a flag remaps"),
            ({"userns-remap": "x"}, {"remapped": True}, VOLUMES, "users that stay remapped"),
            ({"userns-remap": "x"}, {"remapped": None}, VOLUMES,
                "an engine that cannot tell whether it remaps"),
            ({"storage-driver": "overlay2"}, {}, VOLUMES, "the storage driver there is"),
            ({"storage-driver": "btrfs"}, {"containers": False}, VOLUMES,
                "a storage driver, and only volumes"),
            ({"storage-driver": "btrfs"}, {"driver": None}, VOLUMES,
                "a storage driver, and one nobody can tell"),
            ({"storage-driver": "overlay2", "features": {"containerd-snapshotter": True}},
                {"driver": "overlayfs", "in_containerd": True}, VOLUMES,
                "containerd's store under another name"),
            ({"features": None}, {"in_containerd": True}, VOLUMES, "no word of a store"),
        )
    ),
    pytest.param({"starting": {**start({"debug": True})["starting"], "command": []}}, {},
        id="an engine of which nobody knows how it is started"),
    pytest.param(start({"default-runtime": "io.containerd.runc.v2"}), {},
        id="a default runtime known by its type"),
    pytest.param(start({"default-runtime": "x", "runtimes": {}}, None, flags=["--add-runtime", "x=/x"]), {},
        id="a default runtime, and runtimes, of the command line"),
    pytest.param({"compose": None}, {}, id="a compose plugin nobody asked about"),
    pytest.param({"compose": "v2.32.4"}, {}, id="a version with a v"),
    pytest.param({"compose": "dev"}, {}, id="a version that is none"),
    pytest.param({}, {"coming_gb": {"redis": 12}}, id="services to come that just fit"),
    pytest.param({}, {"coming_gb": {"postgres": 99}, "disk_budget": False}, id="nodes that share a disk"),
    pytest.param({"disks.2.free_mb": 900}, {"coming_gb": {"redis": 0}}, id="nothing that needs disk to come"),
    pytest.param({"images": {"redis:8.10.1": None}}, {}, id="an image nobody could ask for yet"),
    pytest.param({"images": {"redis:8.10.1": answered(None, "")}}, {}, id="a registry left to the pull"),
    pytest.param({"images": {"redis:8.10.1": answered(200, "")}}, {}, id="an image of unsaid platforms"),
    pytest.param({"images": {"redis:8.10.1": answered(200, "", ["linux/amd64", "linux/arm64"])}}, {},
        id="an image for all"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "wanted"), ACCEPTED)
def test_what_is_right_or_cannot_be_told_has_no_sentence(found, wanted):
    assert findings(found, wanted) == []


def test_all_findings_of_a_node_are_named_at_once():
    found = {
        "board.bits": 32,
        "board.memory_mb": 900,
        "board.absent": ["nvidia-container-runtime"],
        "memory_cgroup": {**OFF, "cmdline": ""},
        "engine": {"absent": False, "version": "19.03", "api": "1.40"},
        "compose": "2.1",
        "disks.2.device": 2,
        "disks.2.free_mb": 1,
        "key_login": NO_KEY,
        **start({"live-restore": True}, swarm=True, root="/d"),
        **image("manifest unknown"),
    }
    # All but the ones about an engine that is not there, and one that is too new.
    assert len(findings(found, {"coming_gb": {"redis": 1}})) == len(RULES) - 2


@given(st.text())
def test_whatever_a_registry_says_becomes_one_line_with_a_rule_and_a_fix(message):
    [finding] = findings(image(message))
    assert "\n" not in finding
    assert re.search(r"on PI41 \(.*\): .+; .+", finding)


versions = st.lists(st.integers(0, 99), min_size=1, max_size=4)


@given(versions, versions)
def test_versions_are_compared_number_by_number(one, other):
    length = max(len(one), len(other))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in (one, other)]
    assert is_older(".".join(map(str, one)), ".".join(map(str, other))) == (padded[0] < padded[1])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("26.1.5+dfsg1", (26, 1, 5)), ("v2.32.4", (2, 32, 4)), ("", None), (None, None), ("dev", None)],
)
def test_a_version_is_the_numbers_it_starts_with(text, numbers):
    assert version(text) == numbers


@pytest.mark.parametrize(("name", "registry"), [
    ("redis:8", "docker.io"),
    ("grafana/grafana:12", "docker.io"),
    ("quay.io/minio/minio:1", "quay.io"),
    ("198.18.77.2:5000/redis:8", "198.18.77.2:5000"),
    ("localhost/redis:8", "localhost"),
])  # fmt: skip
def test_the_registry_of_an_image_is_what_docker_takes_for_it(name, registry):
    assert registry_of(name) == registry
