"""Certificates of web pages: the site's own CA, and those a site brings itself."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..gateway.certificates import DNS_NAME, certificate_names, own_problems
from ..site.relations import CA_SECRET
from ..site.rules import is_names, is_text, shown
from .services import all_placed
from .subjects import HOST_FILE, SITE_FILE, TIER_FILE, Site, label, shared

SERVICE = "nginx"
OWN_FILE = "group_vars/all/secrets.yml"
# Names that no public DNS has, and addresses.
NOT_PUBLIC = re.compile(r"[^.]*|.*\.(local|localhost|internal|lan|home|test|invalid|\d+)")
EMAIL, DIRECTORY = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+"), re.compile(r"https://[^/\s]+/\S+")


def certificate_errors(site: Site) -> Iterator[str]:
    """Yield names no certificate can have, certificates that browsers would refuse, and a CA of no use."""
    domain, secrets = shared(site, "site_domain"), site["secrets"]
    if not (isinstance(domain, str) and DNS_NAME.fullmatch(domain)):
        yield (
            f"site_domain {shown(domain)}: must be a DNS domain in lower case, such as local or example.org; "
            f"correct it in {SITE_FILE}"
        )
        return
    if secrets.get("ca_problem"):
        yield (
            f"secret {CA_SECRET} (hidden) {secrets['ca_problem']}: must be as `make secrets` writes it, and "
            f"its CA valid for a month; remove its line from {secrets['file']}, let `{site['playbook']} "
            "playbooks/secrets.yml` make another one, and have everybody install the new /ca.crt"
        )
    for host, variables in site["hosts"].items():
        more = variables.get("nginx_names", [])
        if SERVICE in dict(all_placed(variables)) and is_text(variables.get("node_name")) and is_names(more):
            yield from name_errors(site, host, domain, [*more])
            if is_names(variables.get("nginx_acme_domains")):
                yield from acme_errors(site, host, variables)


def name_errors(site: Site, host: str, domain: str, more: list[str]) -> Iterator[str]:
    """Yield the names of a node that are none, or that the site's CA must not vouch for."""
    wrong = [name for name in more if not DNS_NAME.fullmatch(name)]
    issued = host not in site["certificates"]
    foreign = [name for name in more if issued and not f".{name}".endswith(f".{domain}")]
    if wrong or foreign:
        rule = "DNS names in lower case" if wrong else f"below {domain} (site_domain), as the site's CA is"
        yield (
            f"nginx_names of {label(site, host)} {shown(more)}: {' and '.join(wrong or foreign)} must be "
            f"{rule}; correct it, or bring a certificate of another CA (site_tls_certificate)"
        )


def acme_errors(site: Site, host: str, variables: Mapping[str, Any]) -> Iterator[str]:
    """Yield why no ACME server can issue a certificate for the public names of a node."""
    names, server = variables["nginx_acme_domains"], variables.get("nginx_acme_server")
    email, is_url = variables.get("nginx_acme_email", ""), not server or DIRECTORY.fullmatch(str(server))
    wrong = [name for name in names if not DNS_NAME.fullmatch(name) or NOT_PUBLIC.fullmatch(name)]
    rules = [
        ("domains", names, not wrong, f"{' and '.join(wrong)} must be public DNS names in lower case"),
        ("domains", names, not site["certificates"].get(host), "must be empty with site_tls_certificate"),
        ("email", email, EMAIL.fullmatch(str(email)), "must be the e-mail address of the ACME account"),
        ("server", server, is_url, "must be a directory's https:// URL"),
    ]
    for name, value, holds, rule in rules:
        if names and not holds:
            where = f"nginx_acme_{name} of {label(site, host)} {shown(value)}"
            yield f"{where}: {rule}; correct it in {HOST_FILE}"


def own_certificate_errors(site: Site, nodes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the certificates of other CAs on nodes (of `cluster_nodes`) that serve TLS."""
    for node in (one for one in nodes if SERVICE in one["services"]):
        own, host = site["certificates"].get(node["host"]), node["host"]
        ports, public = node["services"][SERVICE]["ports"], site["hosts"][host].get("nginx_acme_domains")
        if public and not (ports["http"]["from"] and ports["https"]["from"]):
            where = f"nginx_acme_domains of {label(site, host)} {shown(public)}"
            yield f"{where}: must be empty if ports.http or ports.https has no `from`; add it in {TIER_FILE}"
        if not own or not ports["https"]["from"]:
            continue
        more = site["hosts"][host].get("nginx_names", [])
        names = certificate_names(node["name"], str(shared(site, "site_domain")), more)
        if "problem" in own:
            problems = iter([own["problem"]])
        else:
            problems = own_problems(own["certificate"], own["key"], names, node["address"], site["now"])
        for problem in problems:
            yield (
                f"site_tls_certificate of {label(site, host)} {shown(own['file'])} {problem}: must be a "
                "certificate in PEM for the node's name or address, valid for a week, with its key in "
                f"site_tls_key; correct the files, or the paths in {OWN_FILE} or {HOST_FILE}"
            )
