"""The control node: its way in, what of the toolkit is shipped and what is not, and what runs there."""

import configparser
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import render
import tree
import yaml
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from tables import cases
from tree import ROOT, load

from aicluster.toolkit import files as toolkit
from aicluster.toolkit.archive import pack


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("roles/x/tasks/main.yml", "inventory/production.yml", "group_vars/all/site.yml", "site.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "inventory/group_vars").symlink_to("../group_vars")
    return tmp_path


def digest(root: Path, secret: Path | str = "") -> str:
    return toolkit.toolkit_digest(["inventory/production.yml"], str(secret), root)


def test_secrets_stay_here_in_plain_text_too_wherever_they_lie(checkout):
    secret = checkout / "inventory/secrets.yml"
    secret.write_text("kong_api_key: x")
    assert "inventory/secrets.yml" not in toolkit.own_files(checkout, str(secret))
    assert digest(checkout, secret) == digest(checkout, secret.rename(checkout / "secrets.yml"))


@pytest.mark.parametrize(("name", "content"), [
    pytest.param("secrets/vault.yml", "kong_api_key: x", id="the folder of secrets"),
    pytest.param("group_vars/all/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n61", id="an encrypted file"),
    pytest.param("host_vars/a/tls.key", "x\n-----BEGIN EC PRIVATE KEY-----\n", id="a private key"),
    pytest.param(".lab/ssh/id_ed25519", "key", id="the lab's keys"),
    pytest.param("tests/unit/test_x.py", "", id="tests"),
    pytest.param("roles/x/__pycache__/a.cpython-311.pyc", "", id="a cache of Python"),
    *(
        pytest.param(f"roles/x/tasks/{name}", "", id=f"what an editor or a Mac left: {name}")
        for name in ("main.yml~", ".main.yml.swo", "#main.yml#", ".DS_Store", "._main.yml")
    ),
    pytest.param("filter_plugins/native.so", "", id="something compiled"),
    pytest.param("notes.txt", "", id="anything else in the root"),
])  # fmt: skip
def test_what_does_not_belong_neither_ships_nor_counts(checkout, name, content):
    before = digest(checkout), set(toolkit.own_files(checkout))
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text(content)
    assert (digest(checkout), set(toolkit.own_files(checkout))) == before


@cases("change", {
    "a file's content": lambda root: (root / "site.yml").write_text("# other\n"),
    "that it may be started": lambda root: (root / "site.yml").chmod(0o755),
    "a new file": lambda root: (root / "roles/x/new.yml").write_text(""),
    "a file that went": lambda root: (root / "roles/x/tasks/main.yml").unlink(),
    "the name of a file": lambda root: (root / "site.yml").rename(root / "requirements.yml"),
})  # fmt: skip
def test_the_digest_changes_with(checkout, change):
    before = digest(checkout)
    change(checkout)
    assert digest(checkout) != before


def test_every_collection_that_is_called_is_shipped():
    texts = [(ROOT / name).read_text() for name in tree.named(".yml", below="roles") if "tasks" in name.parts]
    texts += [(ROOT / name).read_text() for name in tree.named(".yml", below="playbooks")]
    called = {
        ".".join(word.split(".")[:2])
        for text in texts
        for word in re.findall(r"^\s+(?:- )?([a-z_]+\.[a-z_]+\.[a-z0-9_]+):", text, re.M)
    }
    assert called - {"ansible.builtin"} <= set(toolkit.COLLECTIONS)
    listed = {collection["name"] for collection in load("requirements.yml")["collections"]}
    assert set(toolkit.COLLECTIONS) - {"community.library_inventory_filtering_v1"} <= listed


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toolkit")
    links = {"secrets": "/var/lib/aicluster-toolkit/secrets"}
    for part, files, more in (("", toolkit.own_files(ROOT), links), ("lib", toolkit.library_files(), {})):
        archive = io.BytesIO()
        pack(files, more, archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            assert {(member.uid, member.gid) for member in tar} == {(0, 0)}
        (folder / part).mkdir(exist_ok=True)
        # Not by Python, whose versions differ in what of an archive they trust.
        subprocess.run(["tar", "-xzC", folder / part], input=archive.getvalue(), check=True)
    return folder


def test_the_unpacked_toolkit_understands_its_own_playbooks(unpacked):
    where = {"PYTHONPATH": f"{unpacked}/lib:{unpacked}", "ANSIBLE_CONFIG": f"{unpacked}/ansible.cfg"}
    environment = {**where, "HOME": str(unpacked), "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    argv = [sys.executable, "-P", "-m", "ansible.cli.playbook", "--syntax-check", "site.yml"]
    done = subprocess.run(argv, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)
    assert "playbook: site.yml" in done.stdout, done.stderr


def rendered(path: str, **where: Any) -> str:
    return render.render_role("control_node", **where)[path]


@cases(("host_vars", "port"), {
    "another port": ({"ansible_host": "10.0.0.9", "ansible_port": 2222}, 2222),
    "a file of another machine": ({"ansible_ssh_args": "-F /home/me/cluster.ssh"}, 22),
})  # fmt: skip
def test_the_control_node_goes_to_the_address_whose_key_it_knows_whatever_host_vars_say(host_vars, port):
    nodes = {"cluster_nodes": [node | {"ssh_port": port} for node in render.cluster("production")]}
    inventory, way = (
        yaml.safe_load(rendered(f"/opt/aicluster-toolkit/{name}.yml", overrides=nodes))
        for name in ("inventory", "way")
    )
    ssh = connection_loader.get("ssh", PlayContext())
    # Variables of an inventory lose to host_vars, but for names that Ansible prefers; extra variables win.
    ssh.set_options(var_options=inventory["all"]["hosts"][NODE] | host_vars | way)
    assert (ssh.get_option("host"), ssh.get_option("port")) == ("192.168.1.147", port)
    assert ssh.get_option("private_key_file") == "/var/lib/aicluster-toolkit/.ssh/id_ed25519"
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "ansible.cfg")
    found = [ssh.get_option(f"ssh_{name}") for name in ("args", "common_args", "extra_args")]
    assert found == [config["ssh_connection"]["ssh_args"], "-o IdentitiesOnly=yes", ""]


KEY_SCRIPT = "/opt/aicluster/bin/aicluster-toolkit-key"


def key_with(passphrase: str, home: Path, *more: str) -> str:
    """What the script says that makes the key."""
    script = home / "aicluster-toolkit-key"
    script.write_text(rendered(KEY_SCRIPT))
    script.chmod(0o700)
    argv: list[str | Path] = [script, home / ".ssh/id_ed25519", "comment", *more]
    done = subprocess.run(argv, input=passphrase + "\n", check=True, capture_output=True, text=True)
    return done.stdout


def opens(key: Path, passphrase: str) -> bool:
    argv: list[str | Path] = ["ssh-keygen", "-y", "-P", passphrase, "-f", key]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(("before", "stays"), [
    pytest.param('my "own" $x \\ phrase', True, id="it has this passphrase"),
    pytest.param("another-passphrase", False, id="it has another passphrase"),
    pytest.param("", False, id="it has none, and who saw it may have kept it"),
    pytest.param(None, False, id="there is none"),
])  # fmt: skip
def test_the_key_is_made_anew_unless(before, stays, tmp_path):
    passphrase, key = 'my "own" $x \\ phrase', tmp_path / ".ssh/id_ed25519"
    key.parent.mkdir()
    if before is not None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", before, "-f", key], check=True)
    old = key.read_bytes() if key.exists() else b""
    assert key_with(passphrase, tmp_path) == ("" if stays else f"made {key}\n")
    assert (key.read_bytes() == old) is stays
    assert opens(key, passphrase) and not opens(key, "")


@pytest.mark.parametrize("torn", ["id_ed25519", "id_ed25519.pub"])
@pytest.mark.parametrize(
    ("passphrase", "more"), [("a passphrase", []), ("", ["open"])], ids=["locked", "open"]
)
def test_what_a_power_cut_left_of_a_key_is_mended(torn, passphrase, more, tmp_path):
    for ending in ("\n", ".pub\n" if torn.endswith("pub") else "\n"):
        assert key_with("a passphrase", tmp_path, *more) == f"made {tmp_path}/.ssh/id_ed25519{ending}"
        (tmp_path / ".ssh" / torn).write_text("")
    key_with("a passphrase", tmp_path, *more)
    assert key_with("a passphrase", tmp_path, *more) == ""
    assert opens(tmp_path / ".ssh/id_ed25519", passphrase)
    assert (tmp_path / ".ssh/id_ed25519.pub").read_text().endswith(" comment\n")


@pytest.mark.parametrize(("argv", "asks"), [
    pytest.param(["ansible-playbook", "playbooks/verify.yml"], True, id="a playbook"),
    pytest.param(["ansible", "nodes", "-m", "ansible.builtin.ping"], True, id="an ad hoc command"),
    pytest.param(["ansible-inventory", "--list"], False, id="what connects to nothing"),
    pytest.param(["ansible", "-e", "ansible_ssh_private_key_file=/x"], False, id="the nightly backup"),
])  # fmt: skip
def test_the_passphrase_is_asked_for_by(argv, asks, tmp_path):
    inventories = {"control_node_inventories": ["inventory/my (own) site.yml"]}
    script = rendered("/opt/aicluster/bin/aicluster-toolkit", overrides=inventories).replace(
        "cd /opt/aicluster-toolkit/current", ":"
    )
    programs = {"id": "echo aicluster", "ssh-agent": 'echo agent; exec "$@"', "ssh-add": "echo asked"}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = script.replace("/usr/bin/python3", "echo")
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["sh", "-c", script, "sh", *argv], env=path, check=True, capture_output=True, text=True
    )
    lines = said.stdout.splitlines()
    assert lines[:-1] == (["agent", "asked"] if asks else [])
    assert lines[-1].startswith("-P -m ansible.cli.") and lines[-1].endswith(" ".join(argv[1:]))


COMPILED = ("aicluster", *(f"{kind}_plugins" for kind in ("action", "callback", "filter", "lookup", "vars")))


def test_a_release_takes_the_place_of_the_last_one_and_nothing_else_is_left(tmp_path):
    script = rendered("/opt/aicluster/bin/aicluster-toolkit-switch")
    for there, here in {"/opt/aicluster-toolkit": str(tmp_path), "/usr/bin/python3": sys.executable}.items():
        script = script.replace(there, here)
    tmp_path.chmod(0o755)

    def switch(release: str, lib: str) -> str:
        parts = [f"releases/{release}/{part}" for part in (*COMPILED, "roles")]
        for part in (*parts, f"lib/{lib}"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / "a.py").write_text("a = 1\n")
        argv = ["sh", "-c", script, "switch", release, lib]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    assert switch("one", "old") == "switched to one\n"
    assert switch("two", "old") == "switched to two\n"
    assert switch("two", "old") == "", "an interrupted run may come by again"
    assert switch("two", "new") == ""
    assert (tmp_path / "current").readlink() == Path("releases/two")
    left = [path.name for part in ("releases", "lib") for path in (tmp_path / part).iterdir()]
    assert left == ["two", "new"]
    (tmp_path / "releases" / "two" / "roles").chmod(0o700)
    (tmp_path / "lib" / "new").chmod(0o700)
    assert switch("two", "new") == "mended modes\n"
    assert switch("two", "new") == "", "everyone may read it now"
    compiled = {str(path.parent.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.pyc")}
    own = {f"releases/two/{part}" for part in COMPILED}
    assert compiled == {"lib/new", *own}, "what lies in roles is shipped"


NODE, CONTROL = "192.168.1.147", "192.168.1.234"
MARKS = load("roles/control_access/vars/main.yml")["__control_access_marks"]
MARK, BACKUP = MARKS
STARTS = "/opt/aicluster/bin/aicluster_backup.py follow --start --by PI31"
LOGIN = f'from="{CONTROL}",no-agent-forwarding ssh-ed25519 AAAA {MARK}\n'
LINE = LOGIN + f'from="{CONTROL}",restrict,command="sudo -n {STARTS}" ssh-ed25519 BBBB {BACKUP}\n'
COMING = "".join(f"# no key yet of {mark}\n" for mark in MARKS)
MINE = "ssh-ed25519 AAAA somebody@home\n"


@cases(("text", "wanted"), {
    "a node set up anew, without the file": ("", True),
    "the line was taken away": (MINE, True),
    "the line is there": (MINE + LINE, False),
    "the line of one key was taken away": (LOGIN, True),
    "their place is held for keys to come": (COMING + MINE, False),
    "the control node has another address": (LINE.replace(CONTROL, "192.168.1.2"), True),
    "the control node has another name": (LINE.replace("PI31", "PI30"), True),
    "a line of somebody else from there": (LINE.replace(BACKUP, "somebody"), True),
})  # fmt: skip
def test_the_line_is_put_back_when(text, wanted):
    rendering = render.renderer("production", NODE)
    variables = rendering.variables("control_access", {"service": {}})
    provision = rendering.state("control_access", variables)["provision"]
    assert rendering.holds(provision["when"], variables, text) is wanted
