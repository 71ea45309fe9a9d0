"""What services ask of the data tier: databases of PostgreSQL, buckets of the object store."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import SiteError
from .catalogue import file_of

# An SQL identifier nobody has to quote: the name of a role is written down in settings of many programs.
DATABASE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
RESERVED = ("postgres", "template0", "template1", "public", "none")
# The part of S3's rules for names of buckets that is safe in every URL and certificate: no dots.
BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")

Node = Mapping[str, Any]


def demands(
    nodes: Iterable[Node], key: str, allowed: re.Pattern[str], says: str
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (service, name, entry) for every name in `key` of every placed service.

    Raises SiteError for a name that does not match `allowed`; `says` tells what it must be.
    """
    for node in nodes:
        for service, entry in node["services"].items():
            for name in entry.get(key) or []:
                if not isinstance(name, str) or not allowed.fullmatch(name):
                    raise SiteError(
                        f"{key} of service {service} on {node['name']} {name!r}: must be {says}; "
                        f"correct it in {file_of(service)}"
                    )
                yield service, name, entry


def database_roles(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return the roles that placed services ask for: the owners of databases, then others, each sorted.

    Entry: role, secret (its password), database (whether it owns one of its name), service (of several the
    first). Raises SiteError for a name that would have to be quoted in SQL, for PostgreSQL's own, and for one
    that means two things.
    """
    says = "1 to 63 small letters, digits and _, no digit first"
    owners = {
        name: {"role": name, "secret": f"{name}_db_password", "database": True, "service": service}
        for service, name, _ in reversed([*demands(nodes, "databases", DATABASE, says)])
    }
    others = {
        (name, service): {
            "role": name,
            "secret": entry["database_roles"][name]["secret"],
            "database": False,
            "service": service,
        }
        for service, name, entry in demands(nodes, "database_roles", DATABASE, says)
    }
    found = [*(owners[name] for name in sorted(owners)), *(others[key] for key in sorted(others))]
    first: dict[str, str] = {}
    for name, service in ((entry["role"], entry["service"]) for entry in found):
        own = name in RESERVED or name.startswith("pg_")
        if own or name in first:
            whose = "PostgreSQL itself" if own else f"service {first[name]}"
            raise SiteError(
                f"database role {name!r} of service {service}: is one of {whose}; "
                f"choose another name in {file_of(service)}"
            )
        first[name] = service
    return found


def bucket_users(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """Return service -> the buckets it may use, for every placed service that asks for any.

    The services are in alphabetical order, the buckets too; a service on several nodes has one entry.
    Raises SiteError for a name S3 would refuse.
    """
    says = "3 to 63 small letters, digits and inner hyphens"
    users: dict[str, set[str]] = {}
    for service, name, _ in demands(nodes, "buckets", BUCKET, says):
        users.setdefault(service, set()).add(name)
    return {service: sorted(users[service]) for service in sorted(users)}
