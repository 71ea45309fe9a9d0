"""Data sources and dashboards from files, as far as this project writes them. A broken one ends the start."""

import json
from pathlib import Path
from typing import Any

import yaml

DATASOURCE = {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"}
PROVIDER = {
    "name", "type", "orgId", "folder", "disableDeletion", "allowUiUpdates", "updateIntervalSeconds",
    "options",
}  # fmt: skip
Entries = dict[str, dict[str, Any]]


def entries(folder: Path, key: str, known: set[str]) -> list[dict[str, Any]]:
    """Return what the files of a folder list below `key`.

    Raises ValueError for anything this stand-in would not heed, yaml.YAMLError for what is no YAML.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.y*ml")):
        content = yaml.safe_load(path.read_text())
        listed = content.pop(key)
        if names := {*content, *set().union(*listed)} - {"apiVersion", "prune"} - known:
            raise ValueError(f"{path.name}: {', '.join(names)}: not known in this stand-in")
        found += listed
    return found


def read_datasources(folder: Path) -> Entries:
    """Return uid -> data source. Raises ValueError as Grafana ends its start."""
    return {one["uid"]: one for one in entries(folder, "datasources", DATASOURCE)}


def read_dashboards(folder: Path) -> Entries:
    """Return uid -> dashboard by title. Raises ValueError as Grafana ends its start."""
    folders = (Path(one["options"]["path"]) for one in entries(folder, "providers", PROVIDER))
    models = [json.loads(path.read_text()) for folder in folders for path in folder.rglob("*.json")]
    found = {one["uid"]: one for one in sorted(models, key=lambda one: str(one["title"]))}
    if len(found) < len(models):
        raise ValueError("two dashboards have the same uid: Grafana saves none of their provider")
    return found
