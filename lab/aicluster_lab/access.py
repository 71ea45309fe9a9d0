"""How one gets into the lab: the ssh key, the nodes' host keys, the secrets."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from .errors import LabError
from .nodes import Ready
from .sitedata import INVENTORY, Site, ansible


def ensure_key(private_key: Path) -> str:
    """Make the lab's ssh key unless it is there; returns the public one, `ssh-ed25519 AAAA... comment`."""
    public_key = private_key.with_suffix(".pub")
    if not (private_key.exists() and public_key.exists()):
        private_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_key.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "aicluster-lab"]
        try:
            subprocess.run([*command, "-f", str(private_key)], check=True)
        except FileNotFoundError:
            raise LabError(
                "ssh-keygen is missing: Ansible reaches the nodes by ssh. Install openssh-client."
            ) from None
    private_key.chmod(0o600)
    return public_key.read_text().strip()


def write_known_hosts(path: Path, nodes: Iterable[Ready]) -> None:
    """Write the nodes' host keys, so that ssh never has to ask or trust blindly."""
    _replace(path, "".join(f"{node.address} {node.host_key}\n" for node in nodes))


def ensure_secrets(site: Site) -> dict[str, str]:
    """Have playbooks/secrets.yml complete the lab's secrets, as it does for real boards; returns them all."""
    command = [ansible(site.root, "ansible-playbook"), *INVENTORY, "playbooks/secrets.yml"]
    done = subprocess.run(command, cwd=site.root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"The lab's secrets cannot be made:\n{done.stdout}{done.stderr}")
    if not site.secrets_file.exists():  # no placed service names one, but every run reads the file
        _replace(site.secrets_file, "{}\n")
    secrets: dict[str, str] = yaml.safe_load(site.secrets_file.read_text())
    return secrets


def _replace(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    draft.replace(path)
