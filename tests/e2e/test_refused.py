"""What only a node can show is refused before anything on it changes, with the fix; other nodes go on.

The age of the engine and of the compose plugin cannot be played here: tests/unit/test_node_findings.py.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import site_under_test as site

EDGE = next(node for node in site.nodes() if "edge" in node.groups)
# Cgroup version 2 where its file is there, as the inspection looks.
CGROUPS_OFF = """
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  file=/sys/fs/cgroup/cgroup.controllers; sed 's/memory//' $file > /tmp/cgroups
else
  file=/proc/cgroups; sed 's/^\\(memory.*\\)1$/\\10/' $file > /tmp/cgroups
fi
mount --bind /tmp/cgroups $file
"""
CGROUPS_ON = "umount /sys/fs/cgroup/cgroup.controllers || umount /proc/cgroups"
# The same files on a disk of their own that is too small.
DISK_FULL = """
cp -a /opt/aicluster /tmp/aicluster
mount -t tmpfs -o size=64m,mode=755 tmpfs /opt/aicluster
cp -a /tmp/aicluster/. /opt/aicluster
rm -r /tmp/aicluster
"""
DISK_AS_BEFORE = "umount /opt/aicluster"
ENGINE_FILE = "/etc/docker/daemon.json"
# Where no file can be.
BELOW_A_FILE = "/etc/hostname/docker.pid"
KEYS_ONLY = "/etc/ssh/sshd_config.d/00-aicluster.conf"
GUEST, PASSWORD = "guest", "not-a-secret"
# It has ended when new connections are taken; a reload has not.
SSHD_READS_AGAIN = "systemctl restart ssh"
# As on the first run of a board whose user logs in with a password.
BY_PASSWORD = f"""
useradd --create-home {GUEST}
echo {GUEST}:{PASSWORD} | chpasswd
echo '{GUEST} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{GUEST}
mv {KEYS_ONLY} /tmp/keys-only.conf
{SSHD_READS_AGAIN}
"""
BY_KEY = f"""
rm /etc/sudoers.d/{GUEST}
userdel --force --remove {GUEST}
mv /tmp/keys-only.conf {KEYS_ONLY}
{SSHD_READS_AGAIN}
"""

pytestmark = pytest.mark.usefixtures("untouched")


@pytest.fixture(scope="module")
def as_before() -> Iterator[str]:
    """The edge node to the last byte; the run after all tests has nothing to do."""
    yield site.fingerprint(EDGE)
    after = site.run_site("--limit", EDGE.address)
    assert (after.code, after.changed) == (0, {EDGE.address: 0}), after.output


@pytest.fixture
def untouched(as_before: str) -> Iterator[None]:
    """The edge node is afterwards what it was before, to the last byte."""
    yield
    assert site.fingerprint(EDGE) == as_before


@contextmanager
def spoilt(how: str, back: str) -> Iterator[None]:
    """The edge node as one command leaves it; another one puts it back."""
    try:
        site.shell(EDGE, how)
        yield
    finally:
        site.shell(EDGE, back)


def sentences(run: site.Run) -> list[str]:
    """The findings of a run, in the order of the message."""
    assert run.code != 0, run.output
    assert f"{EDGE.name}: " in run.output and "nothing was changed on it." in run.output, run.output
    message = run.output.rpartition("nothing was changed on it.")[2].partition("PLAY")[0]
    return [" ".join(found.split()) for found in re.findall(r"^ +\d+\. (.+)$", message, re.MULTILINE)]


@pytest.mark.parametrize("arguments", [("--check",), ()], ids=["in a check", "in a run"])
def test_a_tag_that_does_not_exist_is_named_and_the_other_nodes_go_on(tmp_path, arguments):
    # In their order, which pages on other nodes have.
    services = [
        {"nginx": item["nginx"] | {"image": "nginx:0.0.404"}} if "nginx" in item else item
        for item in site.variable(EDGE, "node_services")
    ]
    wrong = site.inventory_layer(tmp_path, {EDGE: {"node_services": services}})
    run = site.run_site(*wrong, *arguments)
    [sentence] = sentences(run)
    registry = site.variable(EDGE, "site_image_mirror")
    assert sentence.startswith(f"image {registry}/nginx:0.0.404 of service nginx on {EDGE.name} (")
    assert f"registry {registry} has no such tag; " in sentence
    assert sentence.endswith("correct image of nginx in roles/nginx/meta/service.yml")
    failed = dict(re.findall(r"^(\S+) +: .*failed=(\d+)", run.output, re.MULTILINE))
    assert failed == {node.address: "1" if node == EDGE else "0" for node in site.nodes()}
    assert run.changed == {node.address: 0 for node in site.nodes()}


def test_a_registry_that_does_not_answer_is_named_once_with_its_error_and_ways_out():
    registry = site.variable(EDGE, "site_image_mirror").partition(":")[0] + ":1"
    run = site.run_site("--limit", EDGE.address, "-e", f"site_image_mirror={registry}")
    [sentence] = sentences(run)
    assert f" on {EDGE.name} (" in sentence
    assert "connection refused" in sentence
    assert f"registry {registry} must be reachable from the node; " in sentence
    assert "HTTPS_PROXY" in sentence and "site_image_mirror in group_vars/all/images.yml" in sentence


def test_a_full_disk_is_named_with_what_is_free_and_what_must_be():
    with spoilt(DISK_FULL, DISK_AS_BEFORE):
        run = site.run_site("--limit", EDGE.address)
    [sentence] = sentences(run)
    assert re.match(
        rf"disk of /opt/aicluster \(file system /opt/aicluster\) on {EDGE.name} \d+ MiB free of 64 MiB: "
        "must have 500 MiB",
        sentence,
    )
    assert "du -xh --max-depth=2 /opt/aicluster" in sentence


def test_a_missing_memory_cgroup_is_named_with_the_kernel_argument_to_add():
    with spoilt(CGROUPS_OFF, CGROUPS_ON):
        run = site.run_site("--limit", EDGE.address)
    [sentence] = sentences(run)
    assert sentence.startswith(f"memory cgroup of {EDGE.name} not ")
    assert "must be on, or the memory limit of every container is silently ignored; " in sentence
    assert "cgroup_enable=memory cgroup_memory=1" in sentence


def test_whoever_logs_in_with_a_password_is_not_locked_out():
    login = ("-e", f"ansible_user={GUEST} ansible_password={PASSWORD}")
    with spoilt(BY_PASSWORD, BY_KEY):
        run = site.run_site("--limit", EDGE.address, *login)
        site.shell(EDGE, f"test ! -e {KEYS_ONLY}")
    [sentence] = sentences(run)
    assert sentence.startswith(
        f"login of {GUEST}@{EDGE.address} on {EDGE.name} with a key, in a new connection: "
    )
    assert "must work before this run ends logins with a password; `ssh-copy-id " in sentence


def test_an_engine_that_does_not_start_runs_again_with_the_file_it_had():
    """The engine finds nothing wrong with this file before it starts."""
    options = site.setting(EDGE, "docker_engine", "docker_engine_options") | {"pidfile": BELOW_A_FILE}
    changed = json.dumps({"docker_engine_options": options})
    run = site.run_site("--limit", EDGE.address, "-e", changed)
    assert run.code != 0
    said = " ".join(run.output.split())
    assert BELOW_A_FILE.rpartition("/")[0] in said
    assert f"{ENGINE_FILE} is again what it was before this run; the engine runs with it." in said
    site.shell(EDGE, "systemctl is-active docker")
