"""The copy of the site itself: what is in it, and how a person with the vault's password gets to it.

Standard library only: `bin/recover-site` runs before anything is installed.
"""

import base64
import hashlib
import io
from functools import cache
from pathlib import Path, PurePosixPath

from ..errors import SiteError
from ..site.secrecy import VAULT_HEADER
from ..toolkit.archive import pack
from ..toolkit.files import PRIVATE_KEY, below, is_wanted
from .secrets import backup_secret

# Name of its repository, of the login for it, and of its snapshots.
SITE = "site"
ARCHIVE = "site.tar.gz"
FOLDERS = ("group_vars", "host_vars", "inventory")
# Where a checkout has its secrets unless it says otherwise.
SECRETS = "secrets/vault.yml"


@cache
def site_key(password: str) -> str:
    """Return what the secrets of this repository are derived from; a guess takes 32 MiB for a moment."""
    return hashlib.scrypt(
        password.encode(), salt=b"aicluster site", n=1 << 15, r=8, p=1, maxmem=1 << 26, dklen=32
    ).hex()


def site_files(root: Path, secrets: Path, content: bytes) -> dict[str, Path | bytes]:
    """Return path in a checkout -> file here, or the content of the encrypted file of secrets."""
    if not content.startswith(VAULT_HEADER):
        raise SiteError(f"secrets file {secrets}: must be encrypted, as a copy of it leaves this machine")
    found: dict[str, Path | bytes] = {}
    for folder in FOLDERS:
        for path in below(root / folder):
            name = PurePosixPath(path.relative_to(root).as_posix())
            if not is_wanted(name) or path.resolve() == secrets.resolve():
                continue
            if not path.is_symlink() and PRIVATE_KEY.search(path.read_bytes()):
                raise SiteError(
                    f"private key {name}: must be encrypted, as a copy of it leaves this machine; "
                    f"run `ansible-vault encrypt` on it, or move it out of {', '.join(FOLDERS)}"
                )
            found[str(name)] = path
    inside = secrets.is_relative_to(root)
    return {**found, secrets.relative_to(root).as_posix() if inside else SECRETS: content}


def site_archive(root: Path, secrets: Path, content: bytes) -> str:
    """Return the copy of a site as text, the same from the same files."""
    target = io.BytesIO()
    pack(site_files(root, secrets, content), {}, target)
    return base64.b64encode(target.getvalue()).decode()


def site_repository(address: str, key: str, store: bool) -> dict[str, str]:
    """Return the environment in which restic opens the repository below an address.

    A store asks for a login, which is the same at every store: who recovers a site knows no names.
    """
    place = f"{address.rstrip('/')}/{SITE}"
    if store:
        login = backup_secret(key, f"login {SITE} {SITE}")
        place = place.replace("://", f"://{SITE}:{login}@", 1)
    return {"RESTIC_REPOSITORY": place, "RESTIC_PASSWORD": backup_secret(key, f"repository {SITE}")}
