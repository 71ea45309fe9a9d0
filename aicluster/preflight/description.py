"""Whether a site description holds: each value by itself, then what they add up to."""

from collections.abc import Mapping
from typing import Any

from ..backup.findings import backup_problems, drill_problems, volume_problems
from ..budget.models import model_budget
from ..budget.nodes import node_budget
from ..errors import SiteError
from ..gateway.weights import upstream_weights
from ..site.nodes import cluster_nodes, service_endpoints
from ..site.relations import service_relations
from ..site.replication import FACT, replication_problems
from ..site.rules import is_number, or_null
from .certificates import certificate_errors, own_certificate_errors
from .models import routing_errors
from .network import container_errors, firewall_errors, identity_errors, network_errors
from .nodes import group_errors, node_errors
from .secrets import offsite_errors, secret_errors
from .services import catalogue_errors, placement_errors, profile_errors
from .subjects import Site
from .users import user_errors, user_model_errors
from .variables import Validate, inventory_errors, role_variable_errors, shared_errors

# The service and port whose endpoints share the requests by node_ai_share or node_ai_capacity.
BALANCED = ("ollama", "api")


def site_errors(site: Site, validate: Validate) -> list[str]:
    """Return every violated rule of a site description, in the order a reader would correct them.

    `site`: vocabulary {tiers, boards, groups: names}, groups (name -> hosts), hosts (host -> variables:
    node_*, site_network, site_router, site_operators, site_users and those of roles), unreadable (host or
    `site` -> variable -> reason), services (service_definitions), declared (service -> what it deploys to a
    node, with templates), volumes (service -> named volumes of its compose file), programs (Python files in
    files/ of roles), overrides (service_overrides), catalogue (services with overrides), roles (name ->
    options of its argument_specs, None without one), secrets {file, names (those that have a value),
    malformed, environment (names in offsite_environment), problem: text or None, fix: text or None (make it),
    exposed: whether it is plain text that git does not ignore, ca_problem: None or what is wrong with the
    CA}, certificates (host -> {file, certificate, key} of another CA or {file, problem}), now, inventories
    (of this run, below the toolkit's root or absolute), playbook (how one that opens the secrets is run on
    these nodes).
    `validate`: how Ansible validates variables of roles.
    """
    checks = (
        group_errors, shared_errors, network_errors, container_errors, node_errors, identity_errors,
        inventory_errors, catalogue_errors, placement_errors, profile_errors, user_errors, secret_errors,
        offsite_errors, certificate_errors,
    )  # fmt: skip
    # What is the same for all hosts is said once.
    errors = [error for check in checks for error in check(site)]
    return list(dict.fromkeys([*errors, *role_variable_errors(site, validate)]))


def cluster_of(site: Site) -> list[dict[str, Any]]:
    """Return `cluster_nodes` of the hosts whose placement can be read at all."""
    readable = []
    for host, variables in site["hosts"].items():
        member_of = [group for group, hosts in site["groups"].items() if host in hosts]
        hostvars = {**variables, "inventory_hostname": host, "group_names": member_of}
        try:
            cluster_nodes([hostvars], site["catalogue"])
        except SiteError:
            # The placement rules of `site_errors` name what is unreadable, in more than one node at once.
            continue
        readable.append(hostvars)
    return cluster_nodes(readable, site["catalogue"])


def has_usable_part(endpoint: Mapping[str, Any]) -> bool:
    """Tell whether share and capacity of an endpoint are null or numbers in their range."""
    limits = {"share": 100, "capacity": float("inf")}
    return all(or_null(is_number(0, limit))(endpoint[field]) for field, limit in limits.items())


def share_errors(nodes: list[dict[str, Any]]) -> list[str]:
    """Return why the AI nodes' shares or capacities make no wheel, and shares of nodes that serve nothing."""
    service, port = BALANCED
    idle = [
        f"share of {node['name']} {node['share']}: the node does not run {service}, so its share counts for "
        f"nothing; remove its node_ai_share or add {service} to its node_services"
        for node in nodes
        if node["share"] is not None and service not in node["services"]
    ]
    try:
        endpoints = service_endpoints(nodes, service, port)
        # A number that is none or out of range has its own error already.
        if endpoints and all(map(has_usable_part, endpoints)):
            upstream_weights(endpoints)
    except SiteError as error:
        return [*idle, str(error).split(": ", 1)[1]]
    return idle


def model_errors(site: Site, nodes: list[dict[str, Any]]) -> list[str]:
    """Return which models do not fit on the nodes that shall have them."""
    service, _ = BALANCED
    return [
        problem
        for node in nodes
        if service in node["services"]
        for problem in model_budget(site["hosts"][node["host"]], node["name"], node["services"][service])
    ]


def sum_errors(site: Site) -> list[str]:
    """Return what single values, each good by itself, add up to that does not hold."""
    nodes = cluster_of(site)
    budgets = [problem for account in node_budget(nodes) for problem in account["problems"]]
    relations = service_relations(nodes, site["catalogue"])
    facts = [variables.get(FACT) for variables in site["hosts"].values()]
    relations += replication_problems(facts, nodes)
    unnamed = volume_problems([site["catalogue"], *(node["services"] for node in nodes)], site["volumes"])
    drills = drill_problems(site["services"], site["programs"])
    kept = [*dict.fromkeys(unnamed), *drills, *backup_problems(nodes)]
    models = [*model_errors(site, nodes), *routing_errors(site), *user_model_errors(site)]
    networks = [*own_certificate_errors(site, nodes), *dict.fromkeys(firewall_errors(site, nodes))]
    return [*budgets, *relations, *kept, *models, *share_errors(nodes), *networks]


def preflight_errors(site: Site, validate: Validate) -> list[str]:
    """Return all errors of a described site: first of single values, then of what they add up to.

    `site` and `validate` as in `site_errors`.
    """
    errors = site_errors(site, validate)
    if not isinstance(site["catalogue"], Mapping):
        return errors
    try:
        return [*errors, *sum_errors(site)]
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        # Values of a wrong kind, which have their errors already, cannot be added up.
        if not errors:
            raise
        return errors
