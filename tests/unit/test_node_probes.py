"""What services, files and folders of a node show when they are asked for."""

import os

import pytest
from aicluster_node.probes import probe
from tables import cases


def test_a_service_that_nobody_runs_answers_nothing():
    assert probe("http://127.0.0.1:9/api/tags") is None
    assert probe("http://127.0.0.9/of-port-80") is None


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """A file in the home of the user that only the user may read; not all of it is text."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ssh" / "authorized_keys"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"ssh-ed25519 AAAA J\xf6rg\n")
    path.chmod(0o600)
    return path


@cases(("change", "found"), {
    "no file": (lambda keys: keys.unlink(), ""),
    "its folder is open to others": (lambda keys: keys.parent.chmod(0o755), ""),
    "it is open to others": (lambda keys: keys.chmod(0o644), ""),
    "its folder is another user's": (lambda keys: os.chown(keys.parent, 4242, -1), ""),
    "it is another user's": (lambda keys: os.chown(keys, 4242, -1), ""),
    "only the user may read it": (lambda keys: keys.chmod(0o400), "ssh-ed25519 AAAA J\ufffdrg\n"),
})  # fmt: skip
def test_a_probe_of_a_users_file_is_its_text_if_it_is_the_users_alone(keys, change, found):
    try:
        change(keys)
    except PermissionError:
        pytest.skip("only root can give files away")
    assert probe("~/.ssh/authorized_keys") == found


def test_a_probe_of_a_folder_is_what_in_it_not_everyone_may_read(tmp_path):
    root = tmp_path / "toolkit"
    for name in ("open/a", "open/b", "closed/c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / "link").symlink_to("/root/secret")
    assert probe(f"{root}/") == []
    (root / "open" / "b").chmod(0o600)
    (root / "closed").chmod(0o700)
    assert sorted(probe(f"{root}/")) == [str(root / "closed"), str(root / "open" / "b")]
    assert probe(f"{root}/not-there/") == []
