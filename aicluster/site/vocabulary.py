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


def below(group: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the child groups of a group of an inventory tree."""
    return (group or {}).get("children") or {}


def names_in(groups: Mapping[str, Any]) -> list[str]:
    """Return the names of groups and of all groups below them."""
    return [name for group, content in groups.items() for name in (group, *names_in(below(content)))]


def vocabulary_of(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return {tiers, boards, groups} of inventory/groups.yml; what is not below `nodes` is a board."""
    top = below(tree["all"])
    families = [below(content) for group, content in top.items() if group != "nodes"]
    return {
        "tiers": list(below(top["nodes"])),
        "boards": [board for family in families for board in family],
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
