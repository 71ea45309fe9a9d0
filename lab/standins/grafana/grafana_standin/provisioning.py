"""Provisioning files: data sources and dashboards, as far as this project writes them.

A broken file of data sources or providers ends the start. A broken dashboard is left out and logged.
"""

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
    found = entries(folder, "datasources", DATASOURCE)
    for name in ("uid", "name"):
        if len({one[name] for one in found}) < len(found):
            raise ValueError(f"the same data source {name} is used more than once")
    if sum(one.get("isDefault", False) for one in found) > 1:
        raise ValueError("Only one datasource per organization can be marked as default")
    return {one["uid"]: one for one in found}


def read_dashboards(folder: Path) -> Entries:
    """Return uid -> dashboard by title. Raises ValueError as Grafana ends its start.

    A uid that two files share takes a provider the right to save any, as in Grafana.
    """
    found: Entries = {}
    for provider in entries(folder, "providers", PROVIDER):
        models = []
        for path in sorted(Path(provider["options"]["path"]).rglob("*.json")):
            try:
                model = json.loads(path.read_text())
                models.append((model["uid"], model))
            except (ValueError, KeyError) as error:
                print(f"level=error msg=failed to load dashboard from {path}: {error}", flush=True)
        if len(dict(models)) < len(models):
            print(
                f"level=warn msg={provider['name']} has dashboards of the same uid: none is saved", flush=True
            )
        else:
            found |= dict(models)
    return dict(sorted(found.items(), key=lambda one: str(one[1]["title"])))
