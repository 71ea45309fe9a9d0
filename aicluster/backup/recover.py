"""Brings inventory, variables and vault of a site into a fresh clone: `bin/recover-site`.

Standard library only, as all that it imports: nothing is installed yet.
"""

import argparse
import getpass
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

from ..errors import SiteError
from ..toolkit.files import ROOT
from .site import ARCHIVE, FOLDERS, SITE, site_key, site_repository

REFUSED = 2
CONNECT_S = 10.0


def fetched(address: str, password: str) -> bytes:
    """Return the newest copy of the site below an address; raise SiteError with what restic says."""
    if not shutil.which("restic"):
        raise SiteError("restic: must be on this machine; apt-get install restic")
    require_answer(address)
    store = address.startswith("rest:") and "RESTIC_REST_USERNAME" not in os.environ
    environment = {**os.environ, **site_repository(address, site_key(password), store)}
    dump = ["restic", "--no-cache", "dump", "--tag", SITE, "latest", ARCHIVE]
    done = subprocess.run(dump, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        why = next((line for line in said if line.startswith("Fatal: ")), "restic failed").rstrip(":")
        raise SiteError(
            f"repository {address}: {why}: must have a copy of the site "
            "that the vault's password opens; correct one of them, or take another store"
        )
    return done.stdout


def require_answer(address: str) -> None:
    """Raise SiteError where nobody answers at a store: restic would try for a quarter of an hour."""
    place = urlsplit(address.removeprefix("rest:"))
    if address.startswith("rest:") and place.hostname:
        try:
            port = place.port or (443 if place.scheme == "https" else 80)
            create_connection((place.hostname, port), CONNECT_S).close()
        except (OSError, ValueError) as error:  # a port that is no number
            raise SiteError(f"repository {address}: {error}: must answer; take another store") from error


def require_fresh(names: list[str], root: Path) -> None:
    """Raise SiteError for a clone in which something would be lost."""
    for name in names:
        if Path(name).parts[0] not in FOLDERS and (root / name).exists():
            raise SiteError(f"{root / name}: must not be there yet; use a fresh clone, or move it away")
    if not shutil.which("git"):
        return
    ask = ["git", "-C", str(root), "status", "--porcelain", "--", *FOLDERS]
    changed = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    if changed:
        raise SiteError(f"{root}: {changed.strip()}: must have no changes; use a fresh clone, or commit them")


def unpack(archive: bytes, root: Path) -> str:
    """Replace the site of a fresh clone by the one of an archive; return what came."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        # Where Python knows it: nothing leaves the folder.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files = [member.name for member in tar.getmembers() if not member.isdir()]
        require_fresh(files, root)
        for folder in FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
        tar.extractall(root)
    return ", ".join([*FOLDERS, *(name for name in files if Path(name).parts[0] not in FOLDERS)])


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Fetch the newest copy of the site and unpack it; return 2 where nothing was changed."""
    parser = argparse.ArgumentParser(
        prog="bin/recover-site",
        description="Bring a site's inventory, variables and vault into this fresh clone.",
    )
    parser.add_argument("--vault-password-file", type=Path, metavar="FILE", help="else it is asked for")
    parser.add_argument(
        "repository",
        help="a store, as rest:http://192.168.1.154:8000, or the off-site repository (site_offsite), whose "
        "keys are in the environment, as AWS_ACCESS_KEY_ID",
    )
    options = parser.parse_args(arguments)
    file = options.vault_password_file
    try:
        password = file.read_text() if file else getpass.getpass("Vault password: ")
        came = unpack(fetched(options.repository, password.strip()), root)
    except (SiteError, OSError, tarfile.TarError) as error:
        print(f"recover-site: {error}", file=sys.stderr)
        return REFUSED
    print(f"The site is here: {came}. Next: make setup")
    return 0


if __name__ == "__main__":
    sys.exit(main())
