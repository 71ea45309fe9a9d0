"""What the role `minio` puts on its node, and what its provisioning does to a store."""

import json
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

from aicluster.site.data import bucket_policy

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


class Store:
    """A store, and the role's scripts with the paths of a test instead of a container's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "state"
        self.path.write_text(json.dumps(fake_mc.EMPTY))
        tools = folder / "tools"
        tools.mkdir()
        for name in COREUTILS:
            found = shutil.which(name)
            assert found
            (tools / name).symlink_to(found)
        client = tools / "mc"
        client.write_text(f"#!{sys.executable} -IS\n{Path(fake_mc.__file__).read_text()}")
        client.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.path.read_text())
        return loaded

    def change(self, **changes: Any) -> None:
        self.path.write_text(json.dumps({**self.state, **changes}))

    def provision(self, **buckets: list[str]) -> str:
        return str(self.run(asking(**buckets)).stdout)

    def run(self, overrides: dict[str, Any]) -> Any:
        rendered = render_role("minio", host=PI52, overrides=overrides)
        for path in ("bin/sign-in", "bin/provision", "secrets/users", "secrets/root_password"):
            text = rendered[f"{HOME}/{path}"].replace("/opt/aicluster/bin", str(self.folder))
            (self.folder / Path(path).name).write_text(text.replace("/run/secrets/minio", str(self.folder)))
        done = subprocess.run(
            ["/bin/bash", str(self.folder / "provision")],
            check=False,
            env={"PATH": str(self.folder / "tools"), "FAKE_MC": str(self.path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "not found" not in done.stderr, "the image has no such program"
        return done


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_another_secret_and_other_buckets_become_the_users(store):
    store.provision(painter=["images"])
    overrides = asking(painter=["sketches"])
    overrides["site_secrets"]["painter_s3_secret"] = 'new "secret" \\ with $signs'
    said = store.run(overrides).stdout.splitlines()
    assert {"changed: policy of painter", "changed: user painter and its secret"} <= {*said}
    assert store.state["users"]["painter"]["secret"] == 'new "secret" \\ with $signs'
    assert store.state["policies"]["aicluster-painter"] == bucket_policy(["sketches"])


@pytest.mark.parametrize(("spoil", "said"), [
    ({"policies": ["readwrite", "aicluster-painter"]}, "changed: rights of painter\n"),
    ({"policies": []}, "changed: rights of painter\n"),
    ({"enabled": False}, "changed: user painter and its secret\n"),
], ids=["more rights", "no rights", "locked out"])  # fmt: skip
def test_what_was_done_by_hand_is_undone(store, spoil, said):
    store.provision(painter=["images"])
    users = store.state["users"]
    wanted = dict(users["painter"])
    users["painter"].update(spoil)
    store.change(users=users)
    assert store.provision(painter=["images"]) == said
    assert store.state["users"]["painter"] == wanted


def test_the_user_of_a_service_that_went_away_goes_too_and_nobody_else(store):
    store.provision(painter=["images", "sketches"], builder=["models"])
    users = store.state["users"] | {"by-hand": {"secret": "x" * 8, "enabled": True, "policies": []}}
    store.change(users=users)
    assert store.provision(builder=["models"]) == "changed: removed user painter\n"
    assert sorted(store.state["users"]) == ["builder", "by-hand", "minio"]
    assert sorted(store.state["policies"]) == ["aicluster-builder", "aicluster-minio", "readwrite"]
    assert "sketches" in store.state["buckets"], "data is nobody's to throw away"


def test_no_secret_is_ever_an_argument_or_said(store):
    done = store.run(asking(painter=["images"]))
    for secret in ("made-up-painter-s3-secret", *made_up_secrets().values()):
        assert secret not in json.dumps(store.state["calls"])
        assert secret not in done.stdout + done.stderr


def test_a_secret_the_store_would_refuse_is_named_without_being_shown(store):
    overrides = asking(painter=["images"])
    overrides["site_secrets"]["painter_s3_secret"] = "sevench"
    done = store.run(overrides)
    assert done.returncode != 0
    assert "the secret of painter must have 8 characters or more" in done.stderr
    assert "sevench" not in done.stdout + done.stderr


# What the role's script relies on: `mirror` passes over an object of the same size, `cp` does not.
CLIENT = """#!/bin/sh
here="{here}"
while [ "${{1#--}}" != "$1" ]; do shift; done
verb="$1"; shift
last() {{ for word do :; done; echo "$here/store/${{word#root/}}"; }}
from() {{ for word do case "$word" in --*) ;; *) echo "$word"; return ;; esac; done; }}
case "$verb" in
  alias) cat > /dev/null ;;
  mb) mkdir -p "$(last "$@")" ;;
  cp) cp -R "$(from "$@")." "$(last "$@")" ;;
  mirror)
    (cd "$(last "$@")" && find . -type f) | while read -r name; do
      [ -e "$(from "$@")$name" ] || rm "$(last "$@")/$name"
    done ;;
  diff) [ ! -e "$here/differs" ] || echo "> root/images/x" ;;
  ls) find "$(last "$@")" -type f ;;
esac
"""


NEW = {"images/a": "new", "images/later": "new", "models/m": "new", "other/o": "new"}
COPY = {"images/a": "old", "images/gone/b": "old", "models/m": "old"}


@pytest.fixture
def node(tmp_path):
    made = Folder(tmp_path)
    made.program("bin/mc", CLIENT.format(here=tmp_path))
    for folder, objects in (("backup", COPY), ("store", NEW)):
        for name, text in objects.items():
            made.write(f"{folder}/{name}", text)
    made.write("root_password", "long enough")
    rendered = render_role("minio", host=PI52)
    for name in ("sign-in", "put-back"):
        text = rendered[f"{HOME}/bin/{name}"].replace("/opt/aicluster/bin", str(tmp_path))
        text = text.replace("/run/secrets/minio", str(tmp_path)).replace("/backup/", f"{tmp_path}/backup/")
        made.write(name, text)
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
