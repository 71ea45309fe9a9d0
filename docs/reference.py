"""The reference tables of the documentation, as Markdown, from the nodes of the production site.

A node is an entry of `cluster_nodes`; every function is pure. docs/generate.py writes what they return.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aicluster_lab.images import recipe_for

from aicluster.budget.nodes import node_budget
from aicluster.site.catalogue import DECLARED, FIELDS
from aicluster.site.firewall import port_matrix
from aicluster.site.schema import NAMED, Field

Node = Mapping[str, Any]
HEAD = "<!-- Written by docs/generate.py from inventory and catalogue: change those, then `make docs`. -->"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        lines.append(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |")
    return "\n".join(lines)


def page(title: str, text: str, *parts: str) -> str:
    """Return a page with its title, one paragraph, and the parts."""
    return "\n\n".join([HEAD, f"# {title}", text, *parts]) + "\n"


def entries(nodes: Sequence[Node]) -> dict[str, dict[str, Any]]:
    """Return service -> its entry on the first node that runs it, in the order of nodes."""
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for service, entry in node["services"].items():
            found.setdefault(service, entry)
    return found


def in_lab(entry: Mapping[str, Any], root: Path) -> str:
    """Return what a service is in the lab, by the recipe of its image below `root`.

    Raises LabError for an image without a recipe.
    """
    if not entry["image"]:
        return "real"
    folder = recipe_for(root, entry["image"], "").folder.relative_to(root)
    full = f"lab/full/{folder.name}"
    more = f", [complete](../../{full}/Dockerfile) on request" if (root / full).is_dir() else ""
    real = folder.parent.name == "images"
    return (f"[real](../../{folder}/Dockerfile)" if real else f"[stand-in](../../{folder}/README.md)") + more


def services_page(nodes: Sequence[Node], root: Path) -> str:
    """Return which services there are, in which version, where, what they need and what the lab runs.

    `root`: the folder of the toolkit.
    """
    rows = [
        (
            f"[{service}](../../roles/{service}/README.md)",
            entry["summary"],
            f"`{entry['image']}`" if entry["image"] else "on the host",
            ", ".join(entry["architectures"]),
            ", ".join(node["name"] for node in nodes if service in node["services"]),
            ", ".join(
                [
                    *entry.get("needs", []),
                    *(f"{name} (same node)" for name in entry.get("beside", [])),
                    *entry.get("reaches", []),
                ]
            ),
            in_lab(entry, root),
        )
        for service, entry in sorted(entries(nodes).items())
    ]
    columns = ("service", "what it is", "image", "built for", "runs on", "needs and reaches", "in the lab")
    return page(
        "Services",
        "Every placed service, its pinned image, its nodes, and what runs in its place in the lab when no "
        "container registry is reachable. A stand-in speaks the part of the real protocol that this project "
        "uses, and is never shipped to a board. With a registry, the lab pulls the real images except "
        "Ollama's and ComfyUI's; `AICLUSTER_LAB_FULL=1` requests the real program instead of a stand-in.",
        table(columns, rows),
    )


def field_rows(fields: Mapping[str, Field], above: str = "") -> list[tuple[str, str, str, str]]:
    """Return each field with its rule and meaning, and the fields below it."""
    rows = []
    for name, field in fields.items():
        path = f"{above}{name}"
        rows.append((f"`{path}`", field.says, field.meaning, "" if field.required else "optional"))
        rows += field_rows(field.keys, f"{path}.<name>." if field.kind is NAMED else f"{path}.")
    return rows


def fields_table(fields: Mapping[str, Field]) -> str:
    """Return a table of fields, with those below them."""
    return table(("field", "must be", "meaning", ""), field_rows(fields))


def fields_page() -> str:
    """Return what roles/<service>/meta/service.yml may hold."""
    text = (
        "What `roles/<service>/meta/service.yml` says. `service_overrides` (`group_vars/all/services.yml`) "
        "beat it, and the placement list of a tier beats both. "
        f"{', '.join(f'`{name}`' for name in DECLARED)} say what the service deploys to a node. They cannot "
        "be overridden, and a template with variables of the role may stand for any value in them."
    )
    return page("Fields of a service", text, fields_table(FIELDS))


NUMBERS = "numbers and the names of services and nodes", "metrics hold no secret and no prompt"
NO_TLS = (
    "a proxy with TLS would cost each AI node memory and every answer a second hop; the firewall lets nobody "
    "but the gateway in. On a network with strangers, give gateway and AI nodes a VLAN or WireGuard"
)
FOR_OPERATORS = "reach it through ssh (`ssh -L`) from a network that others read"
# What crosses a port between machines, and why that is not encrypted where its service does not say `tls`.
HOPS = {
    "alertmanager (web)": ("alerts and silences", "alerts hold no secret and no prompt"),
    "backup_store (rest)": (
        "copies, and the login of a node's own repository",
        "restic encrypts copies before it sends them; the login can only add to a repository and read what "
        "is encrypted",
    ),
    "blackbox_exporter (web)": NUMBERS,
    "comfyui (ui)": ("prompts and images", NO_TLS),
    "grafana (web)": ("an operator's login, dashboards", FOR_OPERATORS),
    "jupyterhub (hub)": ("a user's login, notebooks", "open it at `/jupyter/` of the node's nginx, with TLS"),
    "kong (status)": NUMBERS,
    "minio (api)": ("images and models, signed requests", ""),
    "minio (console)": ("an operator's login, images", ""),
    "model_mirror (registry)": ("models, which are public", "Ollama compares digests of what it copies"),
    "nginx (http)": (
        "chats of programs, with keys; the gateway's chats at the edge",
        "programs may choose port 443; `nginx_http: redirect` or `closed` ends port 80 for all but nodes. "
        "The edge has no secret, and no time for TLS",
    ),
    "nginx (https)": ("chats, pages, keys and logins", ""),
    "node_exporter (metrics)": NUMBERS,
    "ollama (api)": ("prompts and answers", NO_TLS),
    "pgadmin (web)": ("an operator's login, rows", FOR_OPERATORS),
    "postgres (sql)": ("passwords (SCRAM), conversations, code, the standby's copy", ""),
    "postgres_exporter (metrics)": NUMBERS,
    "postgrest (admin)": NUMBERS,
    "postgrest (api)": (
        "conversations, and the gateway's token, which is valid for them alone",
        "PostgREST does not speak TLS; the firewall lets nobody but the gateway in. `kong_history_store: "
        "false` stores no conversation",
    ),
    "profile_wake (wake)": ("a token that can only switch profiles", "whoever repeats it switches a profile"),
    "prometheus (web)": NUMBERS,
    "redis (redis)": ("the password, cached values", ""),
    "redis_commander (web)": ("cached values", "people open it at the gateway, with TLS"),
    "redis_exporter (metrics)": NUMBERS,
    "sonarqube (web)": (
        "code, tokens and an operator's login",
        "SonarQube does not speak TLS; through the gateway (`/api/v1/code/quality/`) clients have TLS",
    ),
    "victorialogs (api)": ("log lines of every node", "logs hold no secret and no prompt; a test scans them"),
}


def hops_table(nodes: Sequence[Node]) -> str:
    """Return what crosses each port that another machine may reach, and whether it is encrypted."""
    ports = {
        f"{service} ({name})": port
        for node in nodes
        for service, entry in node["services"].items()
        for name, port in entry["ports"].items()
        if set(port["from"]) - {"localhost"}
    }
    rows = [
        (hop, crosses, "TLS" if ports[hop].get("tls") else f"no: {why}")
        for hop, (crosses, why) in HOPS.items()
        if hop in ports
    ]
    return table(("port", "what crosses it", "encrypted"), rows)


def ports_page(nodes: Sequence[Node]) -> str:
    """Return every published port and whom it is meant for."""
    published: dict[tuple[str, ...], list[str]] = {}
    for node in nodes:
        for service, entry in node["services"].items():
            for name, port in entry["ports"].items():
                if port["from"]:
                    clients = ", ".join(port["from"]).replace("_", "-")
                    metrics = "metrics" if (entry.get("metrics") or {}).get("port") == name else ""
                    row = (f"{service} ({name})", str(port["port"]), clients, metrics)
                    published.setdefault(row, []).append(node["name"])
    rows = [(*row, ", ".join(names)) for row, names in sorted(published.items())]
    text = (
        "Every port a node publishes, and its intended clients: a tier, `lan`, `operators` "
        "(`site_operators`), `internet` (everybody), or `localhost`. Docker binds `localhost` to loopback "
        "and all else to the node's address; the [firewall](../../roles/firewall/README.md) of each node "
        "keeps everybody else out, over IPv4 and IPv6. Port "
        f"{' or '.join(sorted({str(node['ssh_port']) for node in nodes}))} (ssh) is open to operators and to "
        "the control node. No other port is."
    )
    encrypted = (
        "## What is encrypted\n\nWhere it says TLS, the server has a certificate of the site's own CA, and "
        "every client refuses another CA, another address and an expired certificate. Containers of one node "
        "share a network of that node, and speak to each other without TLS."
    )
    published_ports = table(("service", "port", "from", "", "on"), rows)
    return page("Ports", text, published_ports, encrypted, hops_table(nodes), *tried(nodes))


def tried(nodes: Sequence[Node]) -> tuple[str, str]:
    """Return what `verify` tries from each node and each of its containers."""
    shut = sum(
        len(one["shut"]) for node in nodes for one in port_matrix(nodes, node["host"], "0.0.0.0/0", [])
    )
    text = (
        "`bin/verify` tries all of it over IPv4, ssh too: from every node the ports of every other one, of "
        f"which {shut} must be silent; from every container those of all nodes, ports 80 and 443 of the "
        "router, and whatever the containers beside it listen on, declared or not. A container reaches what "
        "[its service](services.md) needs and reaches, what Prometheus, Grafana, nginx and the blackbox "
        "exporter are there to ask, and port 53 of anybody. Not tried by `verify`: IPv6, UDP, and a stranger "
        "on the LAN; the tests of the firewall do."
    )
    return "## Tried by verify", text


def need(service: str, node: Node) -> str:
    """Return the MiB and GiB a service needs on a node, and the profiles it runs in if not in all."""
    if service not in node["services"]:
        return ""
    entry = node["services"][service]
    profiles = ", ".join(name for name, services in node["profiles"].items() if service in services)
    return f"{entry['memory_mb']} / {entry['disk_gb']}{f' ({profiles})' if profiles else ''}"


def memory_page(nodes: Sequence[Node]) -> str:
    """Return what each board has and what is planned on it."""
    figures = ("memory_mb", "memory_planned_mb", "memory_free_mb", "disk_gb", "disk_planned_gb")
    rows = [
        (node["name"], node["board"], *(account[figure] for figure in figures))
        for node, account in zip(nodes, node_budget(nodes), strict=True)
    ]
    reserved = [f"{node['memory_reserved_mb']} / {node['disk_reserved_gb']}" for node in nodes]
    needs = [(service, *(need(service, node) for node in nodes)) for service in sorted(entries(nodes))]
    text = (
        "Capacity of every board and what its services plan to use; preflight refuses a plan that does not "
        "fit. A container's memory is a hard limit. Where a node has profiles, only the largest one counts."
    )
    return page(
        "Memory and disk",
        text,
        table(("node", "board", "MiB", "planned", "free", "disk GiB", "planned"), rows),
        "## Services\n\nMiB of memory and GiB of disk; in parentheses the profiles a service runs in.",
        table(("service", *(node["name"] for node in nodes)), [("(reserved)", *reserved), *needs]),
    )


def hardening_page(exceptions: Mapping[str, Mapping[str, str]]) -> str:
    """Return service -> rule -> reason as a table: the files roles/<service>/meta/hardening.yml."""
    rows = [
        (service, f"`{rule}`", reason)
        for service, rules in exceptions.items()
        for rule, reason in rules.items()
    ]
    text = (
        "Every container drops all capabilities and cannot gain new privileges. It has a read-only root, a "
        "non-root user, limits of memory and processes, journal logging, an exact image and a health check, "
        "and publishes to named addresses only. Notebooks, which run arbitrary code, share a network only "
        "with the service that passes requests to them. A test checks every rendered compose file. "
        "These are the exceptions:"
    )
    return page("Hardening", text, table(("service", "rule", "reason"), rows))


# What the cluster is there for, and the way it takes. A check says in its FLOWS which of them it asks.
FLOWS = {
    "chat": "client → nginx → Kong → AI node",
    "code": "client → nginx → Kong → AI node",
    "image": "client → nginx → Kong → ComfyUI → object store",
    "code quality": "client → nginx → Kong → SonarQube → PostgreSQL",
    "edge fallback": "client → nginx → edge node, when no AI node answers",
    "data": "gateway → PostgREST → PostgreSQL",
    "dashboards": "user → nginx → Grafana → Prometheus",
    "metrics": "every service → Prometheus",
    "logs": "journal of every node → log store",
    "alerts": "Prometheus → Alertmanager → receiver",
}


def flows_page(asked: Mapping[str, Mapping[str, str]]) -> str:
    """Return what verify asks of every flow; `asked`: service -> flow -> what the service's check asks."""
    rows = []
    for flow, way in FLOWS.items():
        checks = {service: told[flow] for service, told in asked.items() if flow in told}
        says = "; ".join(f"[{one}](../../roles/{one}/README.md): {text}" for one, text in checks.items())
        rows.append((flow, way, says or "**nothing**"))
    text = (
        "Every flow of the cluster, and the services whose checks cover it: on each node that runs the "
        "service, unless it is inactive there."
    )
    return page("What verify tests", text, table(("flow", "path", "what verify tests"), rows))
