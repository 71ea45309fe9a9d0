"""The repository as data: what the contract tests read."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from aicluster.site import catalogue as service_files
from aicluster.site.vocabulary import YAML_LOADER

ROOT = Path(__file__).resolve().parents[2]


# Where generated files live; `git ls-files` knows, a tree unpacked from an archive does not.
_GENERATED = {".git", ".venv", ".lab", ".cache", "__pycache__", "secrets"}


def load(path: Path | str) -> Any:
    """The parsed content of a YAML file, by path below the root; None for an empty one."""
    return yaml.load((ROOT / path).read_bytes(), Loader=YAML_LOADER)


@cache
def files() -> tuple[Path, ...]:
    """Every file of the project below the root, without generated ones, sorted, relative."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = [Path(line) for line in listed.splitlines()]
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git, or an unpacked archive
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if not path.is_dir()]
    return tuple(
        sorted(name for name in names if not _GENERATED & set(name.parts) and (ROOT / name).is_file())
    )


def named(*suffixes: str, below: str = ".") -> list[Path]:
    """The files that end in one of `suffixes`, below a folder."""
    folder = Path(below)
    return [
        name for name in files() if name.name.endswith(suffixes) and (below == "." or folder in name.parents)
    ]


def roles() -> list[str]:
    return sorted({name.parts[1] for name in files() if name.parts[0] == "roles" and len(name.parts) > 2})


def catalogue() -> dict[str, Any]:
    """The service catalogue, without what a site overrides."""
    return service_files.load(ROOT / "roles")


def is_service(role: str) -> bool:
    """True for a role that is a service: it ships a compose file of its own."""
    return (ROOT / f"roles/{role}/templates/opt/aicluster/{role}/compose.yaml.j2").is_file()


def tasks_of(path: Path | str) -> list[dict[str, Any]]:
    """Every task of a task file or playbook, those inside blocks included (blocks themselves too)."""
    found: list[dict[str, Any]] = []

    def walk(items: Any) -> None:
        for item in items or []:
            if not {"hosts", "import_playbook"} & set(item):
                found.append(item)
            for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                walk(item.get(key))

    walk(load(path))
    return found
