"""The copy of the site that the stores keep, and the key to it, from the password of the vault alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultSecret
from ansible.plugins.lookup import LookupBase

from aicluster.backup.site import site_archive, site_key
from aicluster.errors import SiteError
from aicluster.toolkit.files import ROOT

DOCUMENTATION = """
name: site_copy
short_description: what a new control node needs of the site
description:
  - The stores keep a copy of the site's inventory, variables and encrypted secrets, in a repository whose
    password follows from that of the vault and from nothing in it.
options:
  _terms:
    description:
      - V(key) is the key from which the secrets of that repository are derived.
      - V(archive) is the copy, a tar.gz as base64, the same from the same files.
    type: list
    elements: str
    choices: [key, archive]
    required: true
  file: {description: The file of secrets., type: path, required: true}
  password:
    description: Encrypts a copy of secrets that are in plain text here, as those of the lab.
    type: str
    default: ""
"""
RETURN = """
_raw: {description: The key or the archive., type: list, elements: str}
"""


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], variables: object = None, **kwargs: object) -> list[str]:
        """Return the key, the archive or both."""
        self.set_options(var_options=variables, direct=kwargs)
        file = Path(self.get_option("file"))
        try:
            password, content = self._sealed(file, self.get_option("password"))
            made = {"key": lambda: site_key(password), "archive": lambda: site_archive(ROOT, file, content)}
            return [made[term]() for term in terms]
        except (SiteError, OSError) as error:
            raise AnsibleError(str(error)) from error

    def _sealed(self, file: Path, password: str) -> tuple[str, bytes]:
        """Return the password of the file of secrets, and its encrypted content."""
        content, vault = file.read_bytes(), self._loader._vault
        if vault.is_encrypted(content):
            _, _, secret = vault.decrypt_and_get_vault_id(content)
            return secret.bytes.decode(), content
        if not password:
            raise SiteError(
                f"secrets file {file}: must be encrypted, as the stores keep a copy of it; run "
                "`ansible-vault encrypt` on it, or set site_vault_password"
            )
        # The same content looks the same: else every run would find a new copy.
        salt = hashlib.sha256(content + password.encode()).hexdigest()[:32]
        return password, bytes(vault.encrypt(content, secret=VaultSecret(password.encode()), salt=salt))
