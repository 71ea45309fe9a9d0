"""The files of the desired state: their digests, and the rules that say what a change of one means."""

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..site.catalogue import CHANGES
from .declared import CONTAINER_RELOAD, TRIAL

STACK_ROOT = "/opt/aicluster"
# Stands for the digest while templates are rendered: a file cannot contain its own hash.
DIGEST_TOKEN = "@stack-digest@"
# The same of the files a container reads again while it runs: a program can say which of them it has loaded.
RELOAD_TOKEN = "@stack-reload-digest@"


@dataclass(frozen=True)
class File:
    """One file of the desired state; `mode` in octal digits as `0644`, `owner` is the role it comes from.

    With `merge` the content is our part of a JSON object that others write to as well. `accept`: other
    contents that are as right as this one, because the node chooses among them. `change`: one of CHANGES.
    """

    path: str
    content: bytes
    owner: str
    mode: str = "0644"
    uid: int = 0
    gid: int = 0
    merge: bool = False
    accept: tuple[str, ...] = ()
    change: str = CHANGES[0]

    @property
    def secret(self) -> bool:
        """A path with a component `secrets` never shows its content."""
        return "secrets" in Path(self.path).parts

    @property
    def fragment(self) -> dict[str, Any] | None:
        """Our part of a shared JSON file."""
        return dict(json.loads(self.content)) if self.merge else None

    @property
    def sha256(self) -> str:
        """Hex digest of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def question(self) -> dict[str, Any]:
        """Return what the node is asked about the file."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "accept": [hashlib.sha256(text.encode()).hexdigest() for text in self.accept],
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "text": not self.secret,
            "fragment": self.fragment,
        }


def digest_of(files: Iterable[File]) -> str:
    """Digest of a service: path, mode, owner and content of each of its files (first 16 hex digits)."""
    lines = [f"{f.path} {f.mode} {f.uid}:{f.gid} {f.sha256}" for f in sorted(files, key=lambda f: f.path)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def seal(files: Sequence[File], service: str) -> tuple[list[File], str]:
    """Put digests of a service's project files in the place of the tokens; return files and the first digest.

    It is that of the files a running container cannot read again.
    """
    own = [f for f in files if f.path.startswith(f"{STACK_ROOT}/{service}/")]
    digest = digest_of(f for f in own if f.change == "recreate")
    loaded = digest_of(f for f in own if f.change == "reload")

    def sealed(file: File) -> File:
        # A secret may be any text.
        if file.secret:
            return file
        content = file.content.replace(DIGEST_TOKEN.encode(), digest.encode())
        return replace(file, content=content.replace(RELOAD_TOKEN.encode(), loaded.encode()))

    return [sealed(f) for f in files], digest


def rule_for(path: str, rules: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the rule of the first pattern that matches the path."""
    return next((rule for pattern, rule in rules.items() if fnmatch.fnmatch(path, pattern)), {})


def apply_rule(file: File, rule: Mapping[str, Any]) -> File:
    """Return the file with the mode and the way of writing its rule asks for."""
    return replace(
        file,
        mode=rule.get("mode", file.mode),
        merge=rule.get("merge") == "json",
        accept=tuple(rule.get("accept", ())),
        change=rule.get("change", CHANGES[0]),
    )


def reactions_of(rule: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the pairs (verb, unit, container or program) of a rule; a verb names one or a list of them."""
    named = {verb: rule.get(verb, []) for verb in ("restart", "reload", TRIAL, CONTAINER_RELOAD)}
    listed = {verb: [units] if isinstance(units, str) else units for verb, units in named.items()}
    return {(verb, unit) for verb, units in listed.items() for unit in units}


def reactions_to(paths: Iterable[str], rules: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the pairs (verb, unit or container) that a change of these files calls for."""
    return {pair for path in paths for pair in reactions_of(rule_for(path, rules))}
