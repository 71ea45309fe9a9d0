"""The copy of the site: what is in it, what opens it, and how a fresh clone becomes the site again."""

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.loader import lookup_loader
from backups import Folder
from render import ansible_plugins
from tree import ROOT

from aicluster.backup import recover
from aicluster.backup.site import site_archive, site_key, site_repository

RIGHT, OTHER = ([("default", VaultSecret(password.encode()))] for password in ("correct horse", "battery"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    for name in (
        "inventory/production.yml",
        "group_vars/all/site.yml",
        "host_vars/a/node.yml",
        "roles/x.yml",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "inventory/group_vars").symlink_to("../group_vars")
    (root / "secrets").mkdir()
    (root / "secrets/vault.yml").write_bytes(VaultLib(RIGHT).encrypt("redis_password: hidden\n"))
    return root


def looked_up(root: Path, vault: Any = RIGHT, password: str = "") -> tuple[str, str]:
    ansible_plugins()
    lookup_loader.add_directory(str(ROOT / "lookup_plugins"))
    loader = DataLoader()
    loader.set_vault_secrets(vault)
    plugin = lookup_loader.get("site_copy", loader=loader)
    vars(sys.modules[type(plugin).__module__])["ROOT"] = root
    key, archive = plugin.run(["key", "archive"], file=str(root / "secrets/vault.yml"), password=password)
    return key, archive


def test_the_key_follows_from_the_password_of_the_vault_and_from_nothing_in_it(checkout):
    key, _ = looked_up(checkout)
    (checkout / "secrets/vault.yml").write_bytes(VaultLib(RIGHT).encrypt("all: else\n"))
    assert looked_up(checkout)[0] == key == site_key("correct horse")
    (checkout / "secrets/vault.yml").write_bytes(VaultLib(OTHER).encrypt("all: else\n"))
    assert looked_up(checkout, OTHER)[0] != key


def test_secrets_in_plain_text_are_encrypted_in_the_copy_or_refused(checkout):
    (checkout / "secrets/vault.yml").write_text("redis_password: hidden\n")
    with pytest.raises(AnsibleError, match=r"vault.yml: must be encrypted.*run `ansible-vault encrypt`"):
        looked_up(checkout, [])
    own_key = checkout / "host_vars/a/tls.key"
    own_key.write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(AnsibleError, match=r"private key host_vars/a/tls.key: must be encrypted"):
        looked_up(checkout, [], "battery")
    own_key.unlink()
    key, archive = looked_up(checkout, [], "battery")
    assert key == site_key("battery")
    assert looked_up(checkout, [], "battery")[1] == archive
    assert b"hidden" not in base64.b64decode(archive)
    secrets = recovered(checkout.parent / "clone", archive) / "secrets/vault.yml"
    assert VaultLib(OTHER).decrypt(secrets.read_bytes()) == b"redis_password: hidden\n"


def recovered(clone: Path, archive: str) -> Path:
    """A clone of the toolkit with its example site, in which the archive was unpacked."""
    for folder in ("group_vars/all", "host_vars/example", "inventory"):
        (clone / folder).mkdir(parents=True)
    (clone / "host_vars/example/node.yml").write_text("of the clone")
    (clone / "site.yml").write_text("of the clone")
    recover.unpack(base64.b64decode(archive), clone)
    return clone


def test_a_vault_may_lie_among_the_variables(checkout):
    vault = (checkout / "secrets/vault.yml").rename(checkout / "group_vars/vault.yml")
    archive = site_archive(checkout, vault, vault.read_bytes())
    assert recover.unpack(base64.b64decode(archive), checkout) == "group_vars, host_vars, inventory"


def test_what_would_be_lost_is_named_and_stays(checkout, tmp_path, capsys, monkeypatch):
    archive = base64.b64decode(looked_up(checkout)[1])
    monkeypatch.setattr(recover, "fetched", lambda _address, _password: archive)
    (tmp_path / "password").write_text("correct horse\n")
    command = ["--vault-password-file", str(tmp_path / "password"), "rest:http://10.0.0.1:8000"]
    assert recover.main(command, checkout) == 2
    assert "secrets/vault.yml: must not be there yet; use a fresh clone" in capsys.readouterr().err
    (checkout / "secrets/vault.yml").unlink()
    subprocess.run(["git", "init", "--quiet", str(checkout)], check=True)
    assert recover.main(command, checkout) == 2
    assert "must have no changes; use a fresh clone, or commit them" in capsys.readouterr().err
    assert (checkout / "host_vars/a/node.yml").exists()


OPENS = """if [ "$RESTIC_PASSWORD" = {} ]; then printf archive; exit; fi
printf 'loading\\nFatal: wrong password or no key found\\nmore\\n' >&2; exit 12
"""


def test_the_password_alone_opens_a_store_and_is_in_no_argument(tmp_path, monkeypatch):
    here, key = Folder(tmp_path), site_key("correct horse")
    opened = site_repository("rest:http://10.0.0.1:8000", key, store=True)
    here.docker("restic", dump=OPENS.format(opened["RESTIC_PASSWORD"]))
    here.use(monkeypatch, {})
    monkeypatch.setattr(recover, "require_answer", lambda _address: None)
    assert recover.fetched("rest:http://10.0.0.1:8000", "correct horse") == b"archive"
    with pytest.raises(ValueError, match=r"repository b2:bucket:: Fatal: wrong password.*: must have a copy"):
        recover.fetched("b2:bucket:", "battery")
    first, second = here.read("asked").splitlines()
    assert first == "|".join([*opened.values(), "--no-cache dump --tag site latest site.tar.gz"])
    assert opened["RESTIC_REPOSITORY"].startswith("rest:http://site:")
    assert opened["RESTIC_REPOSITORY"].endswith("@10.0.0.1:8000/site")
    assert second.startswith("b2:bucket:/site|")


def test_what_recovers_a_site_needs_no_library():
    program = "import sys; sys.modules['yaml'] = None; import aicluster.backup.recover"
    subprocess.run(["python3", "-c", program], cwd=ROOT, check=True)
