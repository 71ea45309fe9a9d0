# SPDX-License-Identifier: Apache-2.0
"""What the site may say: the groups of inventory/groups.yml, and the options of each role."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# The one in C where PyYAML was built with it, which is faster.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Groups an overlay inventory may add to the vocabulary.
OVERLAY_GROUPS = ("lab",)


def load_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, an empty one if there is no such file or nothing in it."""
    return dict(yaml.load(path.read_bytes(), Loader=YAML_LOADER) or {}) if path.is_file() else {}


def children(tree: Mapping[str, Any] | None, group: str) -> dict[str, Any]:
    """Return the child groups of one group of an inventory tree, or of none if it is not there."""
    for name, content in (tree or {}).items():
        below = (content or {}).get("children") or {}
        if name == group:
            return dict(below)
        if found := children(below, group):
            return found
    return {}


def names_in(tree: Mapping[str, Any] | None) -> list[str]:
    """Return all group names of an inventory tree."""
    return [
        name
        for group, content in (tree or {}).items()
        for name in (group, *names_in((content or {}).get("children")))
    ]


def vocabulary_of(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return {tiers, boards, groups} of inventory/groups.yml; what is not below `nodes` is a board."""
    families = [group for group in children(tree, "all") if group != "nodes"]
    return {
        "tiers": list(children(tree, "nodes")),
        "boards": [board for family in families for board in children(tree, family)],
        "groups": [*names_in(tree), "ungrouped", *OVERLAY_GROUPS],
    }


def roles_in(folder: Path) -> dict[str, dict[str, Any] | None]:
    """Return role name -> its options with their defaults, None for a role without a specification."""
    roles = {}
    for role in sorted(path for path in folder.iterdir() if path.is_dir()):
        document = load_yaml(role / "meta" / "argument_specs.yml")
        main = document.get("argument_specs", {}).get("main")
        defaults = load_yaml(role / "defaults" / "main.yml")
        options = {} if main is None else main.get("options") or {}
        roles[role.name] = main and {
            name: option | ({"default": defaults[name]} if name in defaults else {})
            for name, option in options.items()
        }
    return roles
