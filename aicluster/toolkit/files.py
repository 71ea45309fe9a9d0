"""What the toolkit consists of where it is installed on a node: its own files, and the Python it runs on.

Everything comes from the machine that runs the playbook, whose Python was installed from the lock with its
hashes: no index has to be reached, neither from here nor from the node. Only pure Python is taken, so it runs
on any processor and any Python from 3.11; what is compiled comes from the node's distribution.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from ..errors import SiteError
from ..site.secrecy import is_encrypted
from .archive import member_of

ROOT = Path(__file__).resolve().parents[2]
# What a run of the playbooks reads. Neither secrets nor tests nor the lab.
PARTS = (
    "LICENSE", "action_plugins", "aicluster", "ansible.cfg", "callback_plugins", "filter_plugins",
    "group_vars", "host_vars", "inventory", "library", "lookup_plugins", "module_utils", "playbooks",
    "requirements.yml", "roles", "site.yml", "vars_plugins",
)  # fmt: skip
LIBRARIES = ("ansible-core", "jinja2", "packaging", "resolvelib")
COLLECTIONS = ("community.docker", "community.library_inventory_filtering_v1")
PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY-----", re.MULTILINE)
USELESS = ("__pycache__", "ansible_test", "tests", "docs", "changelogs", ".git")
# Of editors, patches and the Finder, and what Python makes of a file.
LEFTOVERS = re.compile(r".*(~|\.orig|\.rej|\.retry|\.sw[a-p]|\.pyc)|#.*#|\._.*|\.DS_Store")


def is_wanted(path: PurePosixPath) -> bool:
    """Tell whether a file belongs: no caches, no tests of others, nothing compiled, nothing editors leave."""
    if LEFTOVERS.fullmatch(path.name) or path.suffix == ".so":
        return False
    return not {*USELESS, ".."} & set(path.parts)


def below(folder: Path) -> Iterator[Path]:
    """Yield files and links below a folder in a fixed order; links are not followed."""
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if entry.is_dir(follow_symlinks=False):
            yield from below(Path(entry.path))
        else:
            yield Path(entry.path)


def own_files(root: Path, secret: str = "") -> dict[str, Path]:
    """Return path in the toolkit -> file here, of the toolkit itself; secrets and keys stay here."""
    found: dict[str, Path] = {}
    hidden = Path(secret).resolve()
    for part in PARTS:
        start = root / part
        for path in below(start) if start.is_dir() else [start] if start.is_file() else []:
            name = PurePosixPath(path.relative_to(root).as_posix())
            secrets = not path.is_symlink() and (is_encrypted(path) or PRIVATE_KEY.search(path.read_bytes()))
            stays = path.resolve() == hidden or secrets
            if is_wanted(name) and not stays:
                found[str(name)] = path
    return found


def collection_folder(name: str) -> Path:
    """Return where a collection is installed here; raise SiteError if it is not."""
    try:
        spec = find_spec(f"ansible_collections.{name}")
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SiteError(f"toolkit_digest: collection {name}: is not installed here; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations)))


def versions() -> dict[str, str]:
    """Return library or collection -> its version here."""
    found = {name: distribution(name).version for name in LIBRARIES}
    for name in COLLECTIONS:
        manifest = json.loads((collection_folder(name) / "MANIFEST.json").read_text())
        found[name] = str(manifest["collection_info"]["version"])
    return found


def library_files() -> dict[str, Path]:
    """Return path below `lib` -> file here, of what the toolkit runs on."""
    found: dict[str, Path] = {}
    for name in LIBRARIES:
        for file in distribution(name).files or []:
            if is_wanted(PurePosixPath(file)):
                found[str(PurePosixPath(file))] = Path(str(file.locate()))
    for name in COLLECTIONS:
        folder = collection_folder(name)
        for path in below(folder):
            inside = PurePosixPath(path.relative_to(folder).as_posix())
            if is_wanted(inside):
                found[f"ansible_collections/{name.replace('.', '/')}/{inside}"] = path
    return found


def library_digest() -> str:
    """Return 16 hexadecimal digits that change with a version of what the toolkit runs on.

    Name and version are enough: what an installed package holds does not change.
    """
    return hashlib.sha256(json.dumps(versions(), sort_keys=True).encode()).hexdigest()[:16]


def toolkit_digest(inventories: Sequence[str], secret: str = "", root: Path = ROOT) -> str:
    """Return 16 hexadecimal digits that change with anything that would be installed.

    `inventories`: paths below the root that the installed toolkit reads; each must be among its files.
    `secret`: the file of secrets, which stays here wherever it lies.
    Raises SiteError for an inventory that would not be there.
    """
    files = own_files(root, secret)
    for inventory in inventories:
        if not any(name == inventory or name.startswith(f"{inventory.rstrip('/')}/") for name in files):
            raise SiteError(
                f"toolkit_digest: inventory {inventory!r}: is not among the files of the toolkit; name a "
                "path below its root, such as inventory/production.yml, in control_node_inventories"
            )
    whole = hashlib.sha256(library_digest().encode())
    for name, path in files.items():
        member, content = member_of(name, path)
        digest = hashlib.sha256(content).hexdigest()
        whole.update(f"{name} {member.mode} {member.linkname} {digest}\n".encode())
    return whole.hexdigest()[:16]
