"""Provisioning files: data sources and dashboards, and what Grafana says of broken ones.

A broken file of data sources or providers ends the start. A broken dashboard is left out and logged.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import yaml

UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
ACCESS = ("proxy", "direct")


class ProvisioningError(Exception):
    """A file Grafana would not start with."""


def log(level: str, message: str, **fields: object) -> None:
    """Write a line as Grafana does."""
    more = "".join(f" {name}={json.dumps(str(value))}" for name, value in fields.items())
    print(f'logger=provisioning level={level} msg="{message}"{more}', flush=True)


@overload
def expanded(value: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]: ...
@overload
def expanded(value: object, environment: Mapping[str, str]) -> object: ...
def expanded(value: object, environment: Mapping[str, str]) -> object:
    """Return a value with `$NAME` and `${NAME}` replaced by variables; `$$` is a dollar sign."""

    def variable(found: re.Match[str]) -> str:
        wanted = found[1] or found[2]
        return environment.get(wanted, "") if wanted else "$"

    if isinstance(value, str):
        return VARIABLE.sub(variable, value)
    if isinstance(value, Mapping):
        return {key: expanded(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [expanded(inner, environment) for inner in value]
    return value


def documents(folder: Path, environment: Mapping[str, str]) -> Iterable[tuple[Path, dict[str, Any]]]:
    """Yield path and content of every provisioning file of a folder.

    Raises ProvisioningError for text that is no YAML mapping with apiVersion 1. A missing folder is logged.
    """
    if not folder.is_dir():
        log("error", "can't read provisioning files from directory", path=folder)
        return
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")):
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ProvisioningError(
                f"could not parse provisioning config file: {path.name} error: {error}"
            ) from None
        if content is None:
            continue
        if not isinstance(content, dict) or content.get("apiVersion") != 1:
            raise ProvisioningError(f"{path.name}: this stand-in reads files with apiVersion: 1 only")
        yield path, expanded(content, environment)


def entries(path: Path, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the list below `key`. Raises ProvisioningError if it holds anything but mappings."""
    found = content.get(key) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ProvisioningError(f"{path.name}: {key}: cannot unmarshal into a list of mappings")
    return found


def truth(path: Path, entry: Mapping[str, Any], key: str) -> bool:
    """Return a yes or no. Raises ProvisioningError for anything else."""
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise ProvisioningError(f"{path.name}: {key}: {value!r} is neither true nor false")
    return value


# ---------------------------------------------------------------- data sources


@dataclass(frozen=True)
class Datasource:
    """A provisioned data source."""

    identifier: int
    uid: str
    name: str
    kind: str
    url: str
    default: bool
    read_only: bool
    json_data: Mapping[str, Any] = field(default_factory=dict)


def datasource(path: Path, entry: Mapping[str, Any], identifier: int) -> Datasource:
    """Return one data source. Raises ProvisioningError naming it."""
    name, uid = str(entry.get("name") or ""), str(entry.get("uid") or "")
    if not name or not entry.get("type"):
        raise ProvisioningError(f"{path.name}: data source {name!r}: name and type are required")
    if not UID.fullmatch(uid):
        raise ProvisioningError(f"{path.name}: data source {name!r}: invalid format of UID {uid!r}")
    url = str(entry.get("url") or "")
    if not re.match(r"https?://[^/]", url):
        raise ProvisioningError(f"{path.name}: data source {name!r}: validation error: invalid url {url!r}")
    if entry.get("access", "proxy") not in ACCESS:
        log("warn", "invalid access value, will use 'proxy' instead", value=entry["access"])
    json_data = entry.get("jsonData") or {}
    if not isinstance(json_data, dict):
        raise ProvisioningError(f"{path.name}: data source {name!r}: jsonData is no mapping")
    return Datasource(
        identifier,
        uid,
        name,
        str(entry["type"]),
        url.rstrip("/"),
        truth(path, entry, "isDefault"),
        not truth(path, entry, "editable"),
        json_data,
    )


def read_datasources(folder: Path, environment: Mapping[str, str]) -> list[Datasource]:
    """Return the data sources of a folder; raises ProvisioningError as Grafana ends its start."""
    found: list[Datasource] = []
    for path, content in documents(folder, environment):
        for entry in entries(path, content, "datasources"):
            found.append(datasource(path, entry, len(found) + 1))
    if sum(one.default for one in found) > 1:
        raise ProvisioningError(
            "datasource.yaml config is invalid. Only one datasource per organization can be marked as default"
        )
    for what, values in (("uid", [one.uid for one in found]), ("name", [one.name for one in found])):
        if twice := [value for value, count in Counter(values).items() if count > 1]:
            raise ProvisioningError(f"data source with the same {what} already exists: {', '.join(twice)}")
    return found


# ---------------------------------------------------------------- dashboards


@dataclass(frozen=True)
class Provider:
    """Where dashboards come from, and how often they are looked for (seconds)."""

    name: str
    path: Path
    folder: str
    interval_s: float
    editable: bool


@dataclass(frozen=True)
class Dashboard:
    """A dashboard file."""

    uid: str
    title: str
    path: Path
    provider: Provider
    model: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The title in an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def read_providers(folder: Path, environment: Mapping[str, str]) -> list[Provider]:
    """Return the providers of a folder; raises ProvisioningError as Grafana ends its start."""
    found = []
    for path, content in documents(folder, environment):
        for entry in entries(path, content, "providers"):
            options = entry.get("options") or {}
            name = str(entry.get("name") or "")
            if (kind := entry.get("type") or "file") != "file":
                raise ProvisioningError(f"{path.name}: type {kind} is not supported")
            if not isinstance(options.get("path"), str):
                raise ProvisioningError(f"{path.name}: failed to load dashboards, path param is not a string")
            folder_name = str(entry.get("folder") or "")
            if options.get("foldersFromFilesStructure") and folder_name:
                raise ProvisioningError(
                    "'folder' and 'folderUID' should be empty using 'foldersFromFilesStructure' option"
                )
            found.append(
                Provider(
                    name,
                    Path(options["path"]),
                    folder_name,
                    float(entry.get("updateIntervalSeconds") or 10),
                    truth(path, entry, "allowUiUpdates"),
                )
            )
    if twice := [name for name, count in Counter(one.name for one in found).items() if count > 1]:
        raise ProvisioningError(f"dashboards provisioning: the name {twice[0]!r} is used more than once")
    return found


def read_dashboard(path: Path, provider: Provider) -> Dashboard:
    """Return one dashboard. Raises ValueError for what Grafana would not save."""
    model = json.loads(path.read_text())
    if not isinstance(model, dict):
        raise ValueError("is no JSON object")
    if not model.get("title"):
        raise ValueError("Dashboard title cannot be empty")
    uid = str(model.get("uid") or "")
    if not UID.fullmatch(uid):
        raise ValueError(f"uid {uid!r} contains illegal characters, is missing or is longer than 40")
    return Dashboard(uid, str(model["title"]), path, provider, model)


def walk(provider: Provider) -> list[Dashboard]:
    """Return a provider's dashboards; what is broken is logged and left out.

    A uid that two files share takes a provider the right to save any, as in Grafana.
    """
    if not provider.path.is_dir():
        log("error", "Cannot read directory", path=provider.path)
        return []
    found = []
    for path in sorted(provider.path.rglob("*.json")):
        try:
            found.append(read_dashboard(path, provider))
        except ValueError as error:
            log("error", "failed to load dashboard from ", file=path, error=error)
    if twice := [uid for uid, count in Counter(one.uid for one in found).items() if count > 1]:
        log("warn", "the same UID is used more than once", uid=twice[0], provider=provider.name)
        log(
            "warn", "dashboards provisioning provider has no database write permissions because of duplicates"
        )
        return []
    return found


class Library:
    """All dashboards; files are read again when a provider's interval has passed."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        """Read everything once."""
        self._read = {provider: (time.monotonic(), walk(provider)) for provider in providers}

    def all(self) -> list[Dashboard]:
        """Every dashboard, by title."""
        for provider, (when, _) in list(self._read.items()):
            if time.monotonic() - when >= provider.interval_s:
                self._read[provider] = (time.monotonic(), walk(provider))
        found = [dashboard for _, dashboards in self._read.values() for dashboard in dashboards]
        return sorted(found, key=lambda dashboard: dashboard.title)

    def get(self, uid: str) -> Dashboard | None:
        """The dashboard of that uid."""
        return next((dashboard for dashboard in self.all() if dashboard.uid == uid), None)
