"""How one gets into the lab: the ssh key, the nodes' host keys, the secrets."""

import subprocess
from pathlib import Path

import yaml

from .errors import LabError
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


def ensure_secrets(site: Site) -> dict[str, str]:
    """Have playbooks/secrets.yml complete the lab's secrets, as it does for real boards; returns them all."""
    command = [ansible(site.root, "ansible-playbook"), *INVENTORY, "playbooks/secrets.yml"]
    done = subprocess.run(command, cwd=site.root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"The lab's secrets cannot be made:\n{done.stdout}{done.stderr}")
    if not site.secrets_file.exists():  # no placed service names one, but every run reads the file
        write_private(site.secrets_file, "{}\n")
    secrets: dict[str, str] = yaml.safe_load(site.secrets_file.read_text())
    return secrets


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
