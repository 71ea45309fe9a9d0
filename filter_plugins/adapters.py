"""What templates may ask of the package `aicluster`; each filter bears the name of its function there.

Without the package no run comes this far: vars_plugins/service_definitions.py refuses it and says what to do.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ansible.errors import AnsibleFilterError

from aicluster.adapters.connection import ssh_arguments
from aicluster.backup.drills import backup_drills
from aicluster.backup.jobs import backup_jobs, backup_mounts
from aicluster.backup.secrets import backup_secret
from aicluster.backup.stores import backup_clients, backup_stores
from aicluster.errors import SiteError
from aicluster.gateway.benchmark import benchmark_models, benchmark_report
from aicluster.gateway.certificates import (
    ca_certificate,
    node_certificate,
    successor_months,
)
from aicluster.gateway.draining import draining
from aicluster.gateway.passwords import password_line
from aicluster.gateway.routing import model_routing
from aicluster.gateway.sleeping import asleep, wake_ways
from aicluster.gateway.tokens import role_token
from aicluster.gateway.users import gateway_users, hub_users, secret_names, with_user
from aicluster.models import model_mirrors, ollama_differences
from aicluster.monitoring.dashboards import grafana_dashboard
from aicluster.monitoring.grafana import grafana_datasources, grafana_links
from aicluster.monitoring.scrape_jobs import scrape_jobs
from aicluster.site import commands
from aicluster.site.addresses import audience_networks, own_addresses
from aicluster.site.containers import container_reach
from aicluster.site.data import bucket_users, database_roles
from aicluster.site.firewall import port_matrix, reached_ports
from aicluster.site.ingress import ingress_pages, service_page
from aicluster.site.nodes import cluster_nodes, nodes_running, service_endpoints
from aicluster.site.replication import promotion
from aicluster.toolkit.files import toolkit_digest
from aicluster.verify.told import verify_site


def ssh_command(hostvars: Mapping[str, Any]) -> str:
    """Return `ssh ...` with the user, host, port, key and options Ansible itself uses for this host."""
    return commands.ssh_command(ssh_arguments(hostvars))


FILTERS: tuple[Callable[..., Any], ...] = (
    asleep, audience_networks, backup_clients, backup_drills, backup_jobs, backup_mounts, backup_secret,
    backup_stores, benchmark_models, benchmark_report, bucket_users, ca_certificate, cluster_nodes,
    container_reach, database_roles, draining, gateway_users, grafana_dashboard, grafana_datasources,
    grafana_links, hub_users, ingress_pages, model_mirrors, model_routing, node_certificate, nodes_running,
    ollama_differences, own_addresses, password_line, port_matrix, promotion, reached_ports, role_token,
    scrape_jobs, secret_names, service_endpoints, service_page, ssh_command, successor_months, toolkit_digest,
    verify_site, wake_ways, with_user,
)  # fmt: skip


P = ParamSpec("P")
T = TypeVar("T")


def adapted(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function of the package with its errors as those of a filter, word for word."""

    @wraps(function)
    def adapter(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return function(*arguments, **options)
        except SiteError as error:
            raise AnsibleFilterError(str(error)) from error.__cause__

    return adapter


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {function.__name__: adapted(function) for function in FILTERS}
