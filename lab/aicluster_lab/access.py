"""How one gets into the lab: the ssh key, the nodes' host keys, the secrets."""

import os
import secrets
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from .errors import LabError
from .nodes import Ready
from .sitedata import Site

SECRET_BYTES = 24


def ensure_key(private_key: Path) -> str:
    """Make the lab's ssh key unless it is there; returns the public one, `ssh-ed25519 AAAA... comment`."""
    public_key = private_key.with_suffix(".pub")
    if not (private_key.exists() and public_key.exists()):
        private_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_key.unlink(missing_ok=True)
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "aicluster-lab",
            "-f",
            str(private_key),
        ]
        try:
            subprocess.run(command, check=True)
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
    """Add a random value for every secret a placed service names and the file lacks; returns them all.

    What is in the file is never changed.
    """
    path = site.secrets_file
    text = (
        path.read_text()
        if path.exists()
        else "# Secrets of the lab, made at random. They go with `make lab-down`.\n"
    )
    present: dict[str, str] = yaml.safe_load(text) or {}
    added = {name: secrets.token_urlsafe(SECRET_BYTES) for name in site.secrets if name not in present}
    if added or not path.exists():
        _replace(
            path, text.rstrip("\n") + "\n" + "".join(f'{name}: "{value}"\n' for name, value in added.items())
        )
    path.chmod(0o600)
    return present | added


def _replace(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    draft.replace(path)
