"""Completes the one file that holds an inventory's secrets: what is missing is made, what is there stays."""

import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError

from aicluster.adapters.node_action import NodeAction
from aicluster.gateway.certificates import new_ca_secret
from aicluster.site.relations import CA_SECRET
from aicluster.site.secrecy import git_shows

SECRET_BYTES = 32
HEADER = "# Secrets of this site, one `name: value` a line. `make secrets` adds missing ones.\n"


def place_of(error: yaml.YAMLError) -> str:
    """Return where a file is no YAML and why, without a word of what is there."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ""
    return f": line {error.problem_mark.line + 1}, {error.problem or 'unreadable'}"


def made_up(name: str) -> str:
    """Return a new secret: a CA, or 43 letters, digits, - and _, which mean the same in every file."""
    return new_ca_secret(datetime.now(UTC)) if name == CA_SECRET else secrets.token_urlsafe(SECRET_BYTES)


def completed(text: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """Return the file's text with a line for each name that has no value in it, and these names.

    Lines that are there are kept as they are, with comments. Raises AnsibleActionFail if it is no mapping.
    """
    try:
        present = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        # The parser's own message quotes the line, and with it a secret.
        raise AnsibleActionFail(f"is not YAML{place_of(error)}; correct that line") from None
    if not isinstance(present, dict):
        raise AnsibleActionFail("holds no `name: value` lines")
    empty = sorted(name for name in names if name in present and present[name] in (None, ""))
    if empty:
        raise AnsibleActionFail(
            f"has {', '.join(empty)} without a value; remove these lines or give them one"
        )
    missing = sorted({name for name in names if name not in present})
    kept = (text or HEADER).rstrip("\n") + "\n" if missing else text
    whole = kept + "".join(f'{name}: "{made_up(name)}"\n' for name in missing)
    try:
        yaml.safe_load(whole)
    except yaml.YAMLError:
        raise AnsibleActionFail("must have one `name: value` a line, without braces around them") from None
    return whole, missing


def replace(path: Path, content: bytes) -> None:
    """Put a file only its owner can read in the place of another, or of what it links to, in one step."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(path)


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module secret_file`."""

    PREDICTS = True
    _requires_connection = False

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the file on the controller; the answer names what was made, never a value."""
        path = Path(options["path"])
        try:
            text, made = completed(self._read(path), options["names"])
        except (AnsibleActionFail, AnsibleError) as error:
            raise AnsibleActionFail(f"secrets file {path} {error}") from error
        if made and not options["encrypted"] and git_shows(path):
            raise AnsibleActionFail(
                f"secrets file {path} (none written): must be encrypted or ignored by git; set "
                "site_secrets_encrypted: true, or name it in .gitignore"
            )
        if made and not self._task.check_mode:
            replace(path, self._sealed(path, text) if options["encrypted"] else text.encode())
        return {"changed": bool(made), "made": made, "path": str(path)}

    def _read(self, path: Path) -> str:
        if path.is_symlink() and not path.exists():
            # A disk that is away: new secrets would take the place of those in use.
            raise AnsibleActionFail(f"is a link to {path.readlink()}, which does not exist; restore it")
        content = path.read_bytes() if path.exists() else b""
        vault = self._loader._vault
        if not vault.is_encrypted(content):
            return content.decode()
        try:
            return str(vault.decrypt(content).decode())
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"cannot be opened: {error}. Give its password with --ask-vault-pass, or name a file that "
                "holds it in ANSIBLE_VAULT_PASSWORD_FILE"
            ) from error

    def _sealed(self, path: Path, text: str) -> bytes:
        vault = self._loader._vault
        if not vault.secrets:
            raise AnsibleActionFail(
                f"secrets file {path} (none written): must be encrypted, and there is no vault password; add "
                "--ask-vault-pass, or name a file that holds it in ANSIBLE_VAULT_PASSWORD_FILE"
            )
        return bytes(vault.encrypt(text))
