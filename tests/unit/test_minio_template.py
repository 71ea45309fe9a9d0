"""What the role `minio` puts on its node, and what its provisioning does to a store."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_mc
import pytest
from backups import Folder
from render import made_up_secrets, render_role, without
from tree import catalogue

PI52 = "192.168.1.247"
HOME = "/opt/aicluster/minio"
# What the official image has besides its shell; it has no grep, sed or awk.
COREUTILS = ("cat", "mktemp", "rm", "sort", "tr")


def asking(**buckets: list[str]) -> dict[str, Any]:
    """Variables of a site where these services ask for these buckets, besides the store itself."""
    site = without(*(name for name, one in catalogue().items() if "buckets" in one and name != "minio"))
    node = next(node for node in site["cluster_nodes"] if node["host"] == PI52)
    node["services"] |= {
        name: {"image": None, "ports": {}, "memory_mb": 1, "buckets": names}
        for name, names in buckets.items()
    }
    secrets = {f"{name}_s3_secret": f"made-up-{name}-s3-secret" for name in buckets}
    return site | {"site_secrets": made_up_secrets() | secrets}


def install(node: Folder, *paths: str, **overrides: Any) -> None:
    """Lay scripts of the role into a folder, with its paths instead of a container's."""
    rendered = render_role("minio", host=PI52, overrides=overrides)
    for path in paths:
        text = re.sub("/opt/aicluster/bin|/run/secrets/minio", str(node.folder), rendered[f"{HOME}/{path}"])
        node.write(Path(path).name, re.sub(r'(?<=[ "])/backup', f"{node.folder}/backup", text))


class Store(Folder):
    """A store that remembers what its client was asked, and the tools of its image."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write_json("state", fake_mc.EMPTY)
        self.program("tools/mc", f"#!{sys.executable} -IS\n{Path(fake_mc.__file__).read_text()}")
        for name in COREUTILS:
            (folder / "tools" / name).symlink_to(str(shutil.which(name)))

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.read_json("state"))

    def provision(self, **buckets: list[str]) -> str:
        return self.deploy(asking(**buckets)).stdout

    def deploy(self, variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        install(self, "bin/sign-in", "bin/provision", "secrets/users", "secrets/root_password", **variables)
        image = f"PATH={self.folder}/tools", f"FAKE_MC={self.folder}/state"
        done = self.run("env", *image, "/bin/bash", f"{self.folder}/provision")
        assert "not found" not in done.stderr, "the image has no such program"
        return done


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_another_secret_and_other_buckets_become_the_users(store):
    store.provision(painter=["images"])
    overrides = asking(painter=["sketches"])
    overrides["site_secrets"]["painter_s3_secret"] = 'new "secret" \\ with $signs'
    said = store.deploy(overrides).stdout.splitlines()
    assert {"changed: policy of painter", "changed: user painter and its secret"} <= {*said}
    assert store.state["users"]["painter"]["secret"] == 'new "secret" \\ with $signs'
    listing, objects, keys = store.state["policies"]["aicluster-painter"]["Statement"]
    assert (listing["Resource"], objects["Resource"]) == (
        ["arn:aws:s3:::sketches"],
        ["arn:aws:s3:::sketches/*"],
    )
    assert keys["Effect"] == "Deny"


@pytest.mark.parametrize(("spoil", "said"), [
    ({"policies": ["readwrite", "aicluster-painter"]}, "changed: rights of painter\n"),
    ({"policies": []}, "changed: rights of painter\n"),
    ({"enabled": False}, "changed: user painter and its secret\n"),
], ids=["more rights", "no rights", "locked out"])  # fmt: skip
def test_what_was_done_by_hand_is_undone(store, spoil, said):
    store.provision(painter=["images"])
    state = store.state
    wanted = dict(state["users"]["painter"])
    state["users"]["painter"].update(spoil)
    store.write_json("state", state)
    assert store.provision(painter=["images"]) == said
    assert store.state["users"]["painter"] == wanted


def test_the_user_of_a_service_that_went_away_goes_too_and_nobody_else(store):
    store.provision(painter=["images", "sketches"], builder=["models"])
    state = store.state
    state["users"]["by-hand"] = {"secret": "x" * 8, "enabled": True, "policies": []}
    store.write_json("state", state)
    assert store.provision(builder=["models"]) == "changed: removed user painter\n"
    assert sorted(store.state["users"]) == ["builder", "by-hand", "minio"]
    assert sorted(store.state["policies"]) == ["aicluster-builder", "aicluster-minio", "readwrite"]
    assert "sketches" in store.state["buckets"], "data is nobody's to throw away"


def test_no_secret_is_ever_an_argument_or_said(store):
    done = store.deploy(asking(painter=["images"]))
    for secret in ("made-up-painter-s3-secret", *made_up_secrets().values()):
        assert secret not in json.dumps(store.state["calls"])
        assert secret not in done.stdout + done.stderr


# What the script relies on: `mirror` passes over an object of the same size, `cp` does not.
PATHS = 'for to; do :; done; to="$here/store/${to#root/}"; for from; do case $from in /*) break ;; esac; done'
CLIENT = {
    "alias": "cat > /dev/null",
    "mb": f'{PATHS}; mkdir -p "$to"',
    "cp": f'{PATHS}; cp -R "$from." "$to"',
    "mirror": f'{PATHS}; cd "$to"; for name in *; do [ -e "$from$name" ] || rm -r "$name"; done',
    "diff": 'if [ -e "$here/differs" ]; then echo "> root/images/x"; fi',
    "ls": f'{PATHS}; test ! -e "$to" || find "$to" -type f',
}
NEW = {"images/a": "new", "images/later": "new", "models/m": "new", "other/o": "new"}
COPY = {"images/a": "old", "images/gone/b": "old", "models/m": "old"}


@pytest.fixture
def node(tmp_path):
    made = Folder(tmp_path)
    made.docker("mc", **CLIENT)
    for folder, objects in (("backup", COPY), ("store", NEW)):
        for name, text in objects.items():
            made.write(f"{folder}/{name}", text)
    install(made, "bin/sign-in", "bin/put-back", "bin/mirror", "secrets/root_password")
    return made


def test_one_bucket_becomes_what_its_copy_is_and_others_stay(node):
    done = node.run("sh", str(node.folder / "put-back"), "images")
    assert (done.returncode, done.stdout) == (0, "bucket images: 2 objects\n")
    assert node.tree("store") == COPY | {"models/m": "new", "other/o": "new"}


@pytest.mark.parametrize(("bucket", "message"), [
    ("pictures", "the copy has no bucket pictures\n"),
    ("images", "bucket images differs from its copy: > root/images/x\n"),
], ids=["no copy", "a store that has something else afterwards"])  # fmt: skip
def test_a_bucket_that_is_not_what_its_copy_is_fails(node, bucket, message):
    node.write("differs", "")
    done = node.run("sh", str(node.folder / "put-back"), bucket)
    assert (done.returncode, done.stdout + done.stderr) == (1, message)


@pytest.mark.parametrize(("kind", "code"), [("Bucket", 0), ("Object", 1)])
def test_a_bucket_that_was_deleted_is_nothing_to_copy(node, kind, code):
    node.write("on/mirror", f"echo '{kind} `gone` does not exist.' >&2; exit 1")
    assert node.run("sh", str(node.folder / "mirror"), "gone").returncode == code


def test_the_copy_of_a_bucket_that_is_gone_goes_before_the_client_misses_its_folder(node):
    node.write("on/mirror", 'test ! -e "$here/backup/images"')
    node.write("on/ls", "echo '[2026-11-01 02:00:00 UTC]     0B models/'")
    assert node.run("sh", str(node.folder / "mirror")).returncode == 0
    assert node.tree("backup") == {"models/m": "old"}


def test_the_store_gets_certificate_and_key_without_an_empty_line_which_it_would_refuse():
    rendered = render_role("minio", host=PI52)
    for name, kind in (
        ("public.crt", "CERTIFICATE"),
        ("private.key", "PRIVATE KEY"),
        ("CAs/ca.crt", "CERTIFICATE"),
    ):
        text = rendered[f"{HOME}/secrets/certs/{name}"]
        assert re.fullmatch(rf"-----BEGIN {kind}-----\n[^-]+\n-----END {kind}-----\n", text), name
