"""What the role `minio` puts on its node, and what its provisioning does to a store."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from backups import Folder
from render import made_up_secrets, render_role, without
from tree import catalogue

PI52 = "192.168.1.247"
HOME = "/opt/aicluster/minio"
# What the official image has besides its shell; it has no grep, sed or awk.
COREUTILS = ("cat", "dirname", "mktemp", "rm", "sort", "tr")


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


# A user has another secret and too many rights, and there is one of a service that went away.
STORE = {
    "alias": 'read -r name; test "$name" = aicluster',
    "list": """printf '{"policy":"%s"}\\n' readwrite aicluster-painter aicluster-gone""",
    "info": 'case "$*" in *--policy-file*) exit 1 ;; esac; cat "$here/user"',
    "create": 'for last; do :; done; cat "$last" > "$here/policy"',
    "add": 'cat > "$here/secret"',
}


def test_users_get_what_is_declared_and_nothing_else_and_no_secret_is_an_argument(tmp_path):
    store, secret = Folder(tmp_path), 'new "secret" \\ with $signs'
    store.docker("mc", **STORE)
    store.write_json("user", {"policyName": "readwrite,aicluster-painter"})
    for name in COREUTILS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    site = asking(painter=["images"])
    site["site_secrets"]["painter_s3_secret"] = secret
    install(store, "bin/sign-in", "bin/provision", "secrets/users", "secrets/root_password", **site)
    done = store.run("env", f"PATH={tmp_path}/bin", "/bin/bash", f"{tmp_path}/provision")
    assert (done.returncode, done.stderr) == (0, ""), "the image has no other programs"
    asked = store.asked("admin")
    assert [line for line in asked if " remove " in line] == [
        "admin user remove root gone",
        "admin policy remove root aicluster-gone",
    ]
    assert "admin policy detach root readwrite --user painter" in asked
    assert "admin policy attach root aicluster-painter --user painter" not in asked, "it has that"
    assert "arn:aws:s3:::images/*" in store.read("policy")
    assert store.read("secret") == f"{secret}\n"
    for hidden in (secret, *made_up_secrets().values()):
        assert hidden not in store.read("asked") + done.stdout


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


SIZE = "echo ${2##*/} | tr -dc 0-9"


@pytest.mark.parametrize(("free", "size", "code"), [(1023, SIZE, 1), (1024, SIZE, 127), (0, "exit 1", 127)],
    ids=["refused", "begun", "begun where neither is there yet"])  # fmt: skip
def test_a_copy_that_does_not_fit_beside_the_objects_is(free, size, code, tmp_path):
    node = Folder(tmp_path)
    install(node, "bin/backup")
    says = {
        "docker": f"echo {tmp_path}/store",
        "df": f"echo; echo fs 9 9 {free}",
        "du": size,
    }
    for name, text in says.items():
        node.write(f"bin/{name}", f"#!/bin/sh\n{text}\n").chmod(0o755)
    paths = str(node.folder / "backup"), f"{tmp_path}/512", "1536"
    done = node.run("env", f"PATH={tmp_path}/bin:/usr/bin:/bin", "sh", *paths)
    assert done.returncode == code
    assert ("0 MiB free, 1 more needed" in done.stderr) is (code == 1)
