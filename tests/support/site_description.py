"""The real production site as the preflight sees it, and small overlays over it."""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import render
import site_preflight
import yaml
from tree import ROOT

from aicluster.preflight.description import preflight_errors
from aicluster.preflight.secrets import secret_needs
from aicluster.site.catalogue import merged


@cache
def _described() -> dict[str, Any]:
    read = render.site("production")
    groups = read.inventory.get_groups_dict()
    site = site_preflight.describe(groups, read.hostvars, ROOT / "roles")
    # The secrets of the real site are not in the repository: here it has all it needs.
    names = list(secret_needs(site))
    secrets = {"file": "secrets/vault.yml", "names": names, "problem": None, "fix": None}
    sources = list(render.SOURCES["production"])
    # Nor is this machine in its network.
    for variables in site["hosts"].values():
        variables["site_operators"] = variables["site_operators"] or ["192.168.1.10"]
    return site | {"secrets": site["secrets"] | secrets, "inventories": sources}


def production() -> dict[str, Any]:
    """Return a copy of the production site with every secret present."""
    return copy.deepcopy(_described())


def errors_of(site: Mapping[str, Any]) -> list[str]:
    return preflight_errors(site, site_preflight.specification_errors)


# What a mistake in a description is shown with; a service more in production shall not change any of them.
FEW = ("nginx", "kong", "redis", "ollama", "postgres")


def site_of(fixture: Path) -> dict[str, Any]:
    """Return production with a few services only, and with what one fixture changes.

    `everywhere` is set for every host, `overlay` is merged in (lists are replaced), paths in `without` go.
    The catalogue follows from services and overrides, as in Ansible, unless the overlay has another one.
    """
    document = yaml.load(fixture.read_text(), Loader=yaml.CSafeLoader)
    overlay = document.get("overlay") or {}
    site = production()
    # Without data: what has some needs more services.
    site["volumes"] = {}
    for entry in [*site["services"].values(), *site["catalogue"].values()]:
        entry.pop("backup", None)
        entry.pop("drill", None)
    for variables in site["hosts"].values():
        listed = variables["node_services"]
        few = [item for item in listed if (item if isinstance(item, str) else next(iter(item))) in FEW]
        variables.update(node_services=few, node_common_services=[], node_own_services=[])
        variables.update(node_profiles={}, node_profile=None, postgres_primary=None)
        variables.update(document.get("everywhere") or {})
    site = dict(merged(site, overlay))
    for *parents, last in document.get("without") or ():
        holder = site
        for key in parents:
            holder = holder[key]
        del holder[last]
    if "catalogue" not in overlay and isinstance(site["overrides"], dict):
        site["catalogue"] = merged(site["services"], site["overrides"])
    return site
