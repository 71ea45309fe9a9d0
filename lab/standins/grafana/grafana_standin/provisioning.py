"""Provisioning files: data sources and dashboards, as far as this project writes them.

A broken file of data sources or providers ends the start. A broken dashboard is left out and logged.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
DATASOURCE = frozenset(("name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"))
# Besides `name`: what this stand-in does, however often it would look; Grafana can be told otherwise.
PROVIDER: Mapping[str, object] = {
    "type": "file", "orgId": 1, "folder": "", "disableDeletion": False, "allowUiUpdates": False,
}  # fmt: skip


class ProvisioningError(Exception):
    """A file this stand-in does not start with."""


def log(level: str, message: str, **fields: object) -> None:
    """Write a line as Grafana does."""
    more = "".join(f" {name}={json.dumps(str(value))}" for name, value in fields.items())
    print(f'logger=provisioning level={level} msg="{message}"{more}', flush=True)


def entries(folder: Path, key: str, known: Iterable[str]) -> list[dict[str, Any]]:
    """Return what the files of a folder list below `key`.

    Raises ProvisioningError for what is no such list, and for anything this stand-in would not heed.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.y*ml")):
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ProvisioningError(
                f"could not parse provisioning config file: {path.name}: {error}"
            ) from None
        listed = content.get(key) if isinstance(content, dict) and content.get("apiVersion") == 1 else None
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise ProvisioningError(f"{path.name}: lists no {key} with apiVersion: 1")
        names = [*(set(content) - {"apiVersion", "prune", key}), *(set().union(*listed) - set(known))]
        if names or "$" in str(listed):
            what = f"{', '.join(names)}: not known" if names else "variables are not filled in"
            raise ProvisioningError(f"{path.name}: {what} in this stand-in")
        found += listed
    return found


def once(what: str, values: Iterable[object]) -> None:
    """Raise ProvisioningError for a value that comes twice."""
    if twice := [str(value) for value, count in Counter(values).items() if count > 1]:
        raise ProvisioningError(f"the same {what} is used more than once: {', '.join(twice)}")


def read_datasources(folder: Path) -> dict[str, dict[str, Any]]:
    """Return uid -> data source; raises ProvisioningError as Grafana ends its start."""
    found = entries(folder, "datasources", DATASOURCE)
    for one in found:
        if not one.get("name") or not one.get("type"):
            raise ProvisioningError(f"data source {one}: name and type are required")
        if not UID.fullmatch(str(one.get("uid"))):
            raise ProvisioningError(f"data source {one['name']}: invalid format of UID {one.get('uid')!r}")
        if not re.match(r"https?://[^/]", str(one.get("url"))):
            raise ProvisioningError(f"data source {one['name']}: invalid url {one.get('url')!r}")
        if one.get("access") != "proxy":
            raise ProvisioningError(f"data source {one['name']}: this stand-in knows access: proxy only")
    if sum(one.get("isDefault") is True for one in found) > 1:
        raise ProvisioningError("Only one datasource per organization can be marked as default")
    once("data source uid", (one["uid"] for one in found))
    once("data source name", (one["name"] for one in found))
    return {str(one["uid"]): one for one in found}


@dataclass(frozen=True)
class Dashboard:
    """A dashboard file."""

    uid: str
    title: str
    model: Mapping[str, Any]


def read_dashboard(path: Path) -> Dashboard:
    """Return one dashboard. Raises ValueError for what Grafana would not save."""
    model = json.loads(path.read_text())
    if not isinstance(model, dict) or not model.get("title"):
        raise ValueError("Dashboard title cannot be empty")
    uid = str(model.get("uid") or "")
    if not UID.fullmatch(uid):
        raise ValueError(f"uid {uid!r} contains illegal characters, is missing or is longer than 40")
    return Dashboard(uid, str(model["title"]), model)


def walk(folder: Path) -> list[Dashboard]:
    """Return a provider's dashboards; what is broken is logged and left out.

    A uid that two files share takes a provider the right to save any, as in Grafana.
    """
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            found.append(read_dashboard(path))
        except ValueError as error:
            log("error", "failed to load dashboard from ", file=path, error=error)
    if len({one.uid for one in found}) < len(found):
        log("warn", "provider has no database write permissions because of duplicates", folder=folder)
        return []
    return found


def read_dashboards(folder: Path) -> dict[str, Dashboard]:
    """Return uid -> dashboard by title; raises ProvisioningError as Grafana ends its start."""
    found: list[Dashboard] = []
    for entry in entries(folder, "providers", {*PROVIDER, "name", "updateIntervalSeconds", "options"}):
        options = entry.get("options")
        if not isinstance(options, dict) or set(options) != {"path"}:
            raise ProvisioningError(f"provider {entry.get('name')}: options: this stand-in wants path alone")
        if other := [key for key, value in PROVIDER.items() if entry.get(key, value) != value]:
            raise ProvisioningError(f"provider {entry.get('name')}: this stand-in only knows one {other[0]}")
        found += walk(Path(options["path"]))
    return {one.uid: one for one in sorted(found, key=lambda one: one.title)}
