# SPDX-License-Identifier: Apache-2.0
"""Judges the whole site description on the controller; no node is contacted.

It gathers what inventory, group_vars, host_vars, roles and the secrets file say into one plain structure,
hands that to pure filters and fails with all errors at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.parsing.vault import AnsibleVaultError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, filter_loader

from aicluster.site.rules import is_number, or_null

# Groups an overlay inventory may add to the vocabulary.
OVERLAY_GROUPS = ("lab",)
# The service and port whose endpoints share the requests by node_ai_share or node_ai_capacity.
BALANCED = ("ollama", "api")
SITE_VARIABLES = ("site_network", "site_router", "site_image_architectures", "site_operators")
# Keys of the description, and the variables they stand for.
CATALOGUE = {"services": "definitions", "overrides": "overrides", "catalogue": "catalogue"}
# Of the connection, what the description of a node depends on.
CONNECTION_VARIABLES = ("ansible_port", "ansible_ssh_port")
FILTERS = (
    "cluster_nodes",
    "service_endpoints",
    "upstream_weights",
    "node_budget",
    "service_relations",
    "model_budget",
    "ansible_command",
    "site_errors",
)
# What a program that reads a secret takes for something else, and no way of writing it down prevents.
# Placeholders: `%(name)s` of rclone and Grafana, `${env:NAME}` and `{b64}` of SonarQube, `{vault://...}` of
# Kong.
FLAWS = {
    r"[\x00-\x1f\x7f]": "holds a line break, a tab or another control character",
    r"[^\x00-\x7f]": "holds a letter or sign beyond ASCII",
    r"^ | $": "begins or ends with a space",
    r"%\([^)]+\)s|\$\{[^}]*\}|^\{[^}]*\}": "holds a placeholder (`%(...)s`, `${...}` or a leading `{...}`)",
    # SonarQube takes none that is shorter, the object store none below 8.
    r"^.{0,11}$": "has fewer than 12 characters",
}

Filters = Mapping[str, Callable[..., Any]]


def plain(value: object) -> object:
    """Return lazy and tagged values of Ansible as ordinary Python values."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for ordinary in (str, int, float):
        if isinstance(value, ordinary) and not isinstance(value, bool):
            return ordinary(value)
    return value


def load_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, an empty one if there is no such file or nothing in it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(path.read_bytes(), Loader=loader) or {}) if path.is_file() else {}


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
    """Return role name -> the options of its main entry point, None for a role without a specification."""
    roles = {}
    for role in sorted(path for path in folder.iterdir() if path.is_dir()):
        document = load_yaml(role / "meta" / "argument_specs.yml")
        main = document.get("argument_specs", {}).get("main")
        roles[role.name] = None if main is None else dict(main.get("options") or {})
    return roles


def variables_of(hostvars: Mapping[str, Any], roles: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one host's variables that the preflight judges, and the node variables that cannot be computed.

    Role variables that cannot be computed here may need role defaults or facts, so they are left out.
    """
    prefixes = tuple(f"{role}_" for role in roles)
    values, unreadable = {}, {}
    for name in hostvars:
        if not (name.startswith(("node_", *prefixes)) or name in (*SITE_VARIABLES, *CONNECTION_VARIABLES)):
            continue
        try:
            values[str(name)] = plain(hostvars[name])
        except AnsibleError as error:
            if name.startswith("node_") or name in SITE_VARIABLES:
                unreadable[str(name)] = one_line(error)
    return values, unreadable


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks."""
    return " ".join(str(error).split()).rstrip(".")


def flaw_of(secret: object) -> str | None:
    """Return why a secret does not mean the same to every program that reads it, None if it does."""
    if not isinstance(secret, str):
        return "is a number, a truth value or a list"
    return next((flaw for pattern, flaw in FLAWS.items() if re.search(pattern, secret)), None)


def secrets_of(hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Return which secrets have a value and what is wrong with it, as `site_errors` documents it.

    Never the values themselves. `fix` is None where the file is to be made.
    """
    names: list[str] = []
    malformed: dict[str, str] = {}
    file, problem, fix = None, None, None
    try:
        file = str(hostvars["site_secrets_file"])
        secrets = hostvars["site_secrets"]
        if isinstance(secrets, Mapping):
            names = [str(name) for name, value in secrets.items() if value not in (None, "")]
            flaws = {name: flaw_of(secrets[name]) for name in names}
            malformed = {name: flaw for name, flaw in flaws.items() if flaw}
        elif secrets is not None:
            problem, fix = "holds no `name: value` lines", "mend it"
    except KeyError as error:
        problem, fix = f"variable {error} is not set", "set it in group_vars/all/secrets.yml"
    except AnsibleError as error:
        if any(isinstance(cause, AnsibleVaultError) for cause in causes_of(error)):
            problem = "is encrypted, and no password that was given opens it"
            fix = "add --ask-vault-pass (or --vault-password-file FILE) and give the one it was made with"
        elif file is not None and is_absent(Path(file)):
            problem = "does not exist"
        else:
            problem, fix = f"cannot be read, {one_line(error)}", "mend it: what runs uses what is in it"
    found = {"file": file, "names": names, "malformed": malformed, "problem": problem, "fix": fix}
    return {**found, "exposed": False}


def is_absent(path: Path) -> bool:
    """Tell whether a file is to be made: it is no link to a disk that is away, and in no closed folder."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def describe(
    groups: Mapping[str, Iterable[str]], hostvars: Mapping[str, Any], groups_file: Path, roles_folder: Path
) -> dict[str, Any]:
    """Return the site as plain data in the shape that the filter `site_errors` documents."""
    roles = roles_in(roles_folder)
    # Ansible walks what is below `all` as sets: its order differs from run to run, that of `nodes` not.
    ordered = dict.fromkeys([*groups.get("nodes", []), *sorted(groups["all"])])
    hosts = {str(host): variables_of(hostvars[host], roles) for host in ordered}
    site: dict[str, Any] = {
        "vocabulary": vocabulary_of(load_yaml(groups_file)),
        "groups": {str(group): [str(host) for host in members] for group, members in groups.items()},
        "hosts": {host: values for host, (values, _) in hosts.items()},
        "unreadable": {host: unreadable for host, (_, unreadable) in hosts.items() if unreadable},
        "services": {},
        "overrides": {},
        "catalogue": None,
        "roles": roles,
        "secrets": secrets_of({}),
        "inventories": [],
        "playbook": "ansible-playbook --ask-vault-pass",
    }
    if hosts:
        # These are the same for every host; any host's variables can compute them.
        first = hostvars[next(iter(hosts))]
        site["secrets"] = secrets_of(first)
        for key, name in CATALOGUE.items():
            try:
                site[key] = plain(first.get(f"service_{name}"))
            except AnsibleError as error:
                site[key] = None
                site["unreadable"].setdefault("site", {})[f"service_{name}"] = one_line(error)
    return site


def cluster_of(site: Mapping[str, Any], filters: Filters) -> list[dict[str, Any]]:
    """Return the filter `cluster_nodes` over the hosts whose placement can be read at all."""
    readable = []
    for host, variables in site["hosts"].items():
        member_of = [group for group, hosts in site["groups"].items() if host in hosts]
        hostvars = {**variables, "inventory_hostname": host, "group_names": member_of}
        try:
            filters["cluster_nodes"]([hostvars], site["catalogue"])
        except AnsibleFilterError:
            # The placement rules of `site_errors` name what is unreadable, in more than one node at once.
            continue
        readable.append(hostvars)
    nodes: list[dict[str, Any]] = filters["cluster_nodes"](readable, site["catalogue"])
    return nodes


def has_usable_part(endpoint: Mapping[str, Any]) -> bool:
    """Tell whether share and capacity of an endpoint are null or numbers in their range."""
    limits = {"share": 100, "capacity": float("inf")}
    return all(or_null(is_number(0, limit))(endpoint[field]) for field, limit in limits.items())


def share_errors(nodes: list[dict[str, Any]], filters: Filters) -> list[str]:
    """Return why the AI nodes' shares or capacities make no wheel, and shares of nodes that serve nothing."""
    service, port = BALANCED
    idle = [
        f"share of {node['name']} {node['share']}: the node does not run {service}, so its share counts for "
        f"nothing; remove its node_ai_share or add {service} to its node_services"
        for node in nodes
        if node["share"] is not None and service not in node["services"]
    ]
    try:
        endpoints = filters["service_endpoints"](nodes, service, port)
        # A number that is none or out of range has its own error already.
        if endpoints and all(map(has_usable_part, endpoints)):
            filters["upstream_weights"](endpoints)
    except AnsibleFilterError as error:
        return [*idle, str(error).split(": ", 1)[1]]
    return idle


def model_errors(site: Mapping[str, Any], nodes: list[dict[str, Any]], filters: Filters) -> list[str]:
    """Return which models do not fit on the nodes that shall have them."""
    service, _ = BALANCED
    return [
        problem
        for node in nodes
        if service in node["services"]
        for problem in filters["model_budget"](
            site["hosts"][node["host"]], node["name"], node["services"][service]
        )
    ]


def sum_errors(site: Mapping[str, Any], filters: Filters) -> list[str]:
    """Return what single values, each good by itself, add up to that does not hold."""
    nodes = cluster_of(site, filters)
    budgets = [problem for account in filters["node_budget"](nodes) for problem in account["problems"]]
    relations: list[str] = filters["service_relations"](nodes)
    return [*budgets, *relations, *model_errors(site, nodes, filters), *share_errors(nodes, filters)]


def preflight_errors(site: Mapping[str, Any], filters: Filters) -> list[str]:
    """Return all errors of a described site: first of single values, then of what they add up to.

    `filters`: name -> function of each filter in FILTERS.
    """
    errors: list[str] = filters["site_errors"](site)
    if not isinstance(site["catalogue"], Mapping):
        return errors
    try:
        return [*errors, *sum_errors(site, filters)]
    except (AttributeError, KeyError, TypeError, ValueError, AnsibleError):
        # Values of a wrong kind, which have their errors already, cannot be added up.
        if not errors:
            raise
        return errors


def report(errors: list[str]) -> str:
    """Return the numbered list a person reads."""
    count = "1 mistake" if len(errors) == 1 else f"{len(errors)} mistakes"
    lines = (f"{number:>3}. {error}" for number, error in enumerate(errors, start=1))
    return "\n".join([f"{count} in the site description; no node was touched.", *lines])


class ActionModule(ActionBase):
    """Ansible's entry point; options in library/site_preflight.py."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"groups_file", "roles_folder"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Describe the site from the inventory's variables, judge it, fail with every error at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        filters = {name: filter_loader.get(name).j2_function for name in FILTERS}
        site = describe(
            variables["groups"],
            variables["hostvars"],
            Path(self._task.args["groups_file"]),
            Path(self._task.args["roles_folder"]),
        )
        # Plugins have no import path: the loader has them as modules.
        name_of = sys.modules[filters["ansible_command"].__module__].inventory_name
        sources = variables["ansible_inventory_sources"]
        site |= {
            "inventories": [name_of(source) for source in sources],
            "playbook": filters["ansible_command"](sources, ask_vault=True),
        }
        if site["secrets"]["file"]:
            secret_file = sys.modules[action_loader.get("secret_file", class_only=True).__module__]
            site["secrets"]["exposed"] = secret_file.is_exposed(Path(site["secrets"]["file"]))
        errors = preflight_errors(site, filters)
        result["changed"] = False
        if errors:
            result.update(failed=True, msg=report(errors))
        else:
            result["msg"] = f"The description of {len(site['hosts'])} nodes holds."
        return result
