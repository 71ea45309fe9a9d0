"""The service catalogue: what each service is, as roles/<service>/meta/service.yml says.

FIELDS is the only description of that file. The file is checked against it, and so is what the site
(`service_overrides`) and the placement lists override; docs/reference/service-fields.md is written from it.
DECLARED are the fields that say what the service deploys to a node. They are for the engine alone: templates
in them need the role's variables, so they are no part of the variable `service_definitions`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .rules import LAST_PORT, is_names, is_text, is_whole, matches, shown
from .schema import LISTED, MAPPING, NAME, NAMED, NAMES, ONE, Field, Kind, Reader, below, is_kind
from .vocabulary import YAML_LOADER

ARCHITECTURES = ("amd64", "arm64")
# Whom a port may be opened to besides the tiers.
AUDIENCES = ("lan", "operators", "internet", "localhost")
# What `reaches` may name besides services.
OUTSIDE = ("lan", "internet")


def is_exact_image(value: object) -> bool:
    """`[registry[:port]/]name:tag` with a tag that names a version: not `latest`, and with a digit in it."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?", value):
        return False
    tag = value.split("@")[0].rsplit("/", 1)[-1].partition(":")[2]
    return "latest" not in tag and bool(re.search(r"\d", tag))


def is_command(value: object) -> bool:
    """Tell whether a value is a health check's command as compose files have it."""
    return isinstance(value, list) and is_names(value) and len(value) > 1 and value[0] in ("CMD", "CMD-SHELL")


def is_relative(value: object) -> bool:
    """Tell whether a value is a path that stays below a folder."""
    return isinstance(value, str) and is_text(value) and value[0] != "/" and ".." not in value.split("/")


def one_of(*words: str) -> Kind:
    """Return the kind "one of these words"."""
    return Kind(is_text, f"one of {', '.join(words)}", words)


IMAGE = Kind(is_exact_image, "name:tag with the exact version, not latest")
BUILDS = Kind(lambda value: is_names(value) and value != [], "a list of amd64 and arm64", "architectures")
AUDIENCE = Kind(is_names, f"a list of tiers, {', '.join(AUDIENCES)}; `[]` publishes nothing", "audiences")
BOOLEAN = Kind(is_kind(bool), "true or false")
COMMAND = Kind(is_command, "a list that starts with CMD or CMD-SHELL")
PATH = Kind(lambda value: isinstance(value, str) and value.startswith("/"), "a path that starts with /")
RELATIVE = Kind(is_relative, "a relative path")
RELATIVES = Kind(
    lambda value: isinstance(value, list) and all(map(is_relative, value)), "a list of relative paths"
)
PORT_NAME = Kind(is_text, "the name of one of the service's ports", "ports")
PORT_NUMBER = Kind(is_whole(1, LAST_PORT), f"a port from 1 to {LAST_PORT}")
SECONDS = Kind(is_whole(1), "a whole number of seconds from 1")
SERVICES = Kind(is_names, "a list of services")
REACHED = Kind(is_names, f"a list of services, {', '.join(OUTSIDE)}")
COMMAND_LINE = Kind(is_text, "a command")
USER, UNIT_NAME = Kind(is_whole(0), "a numeric user id"), Kind(is_text, "the name of a systemd unit")
UNITS = Kind(lambda value: is_text(value) or is_names(value), "the name of a systemd unit, or a list of them")
# What a change of a file means for the containers of its service; the first where nothing is said.
CHANGES = ("recreate", "reload", "none")
NETWORK = Kind(matches("[a-z0-9][a-z0-9-]*"), "a name of small letters, digits and hyphens")
MODE = Kind(matches("[0-7]{4}"), 'four octal digits in quotes, as "0600"')

# Why a site cannot override a field, and what to do instead.
ROLES_OWN = ("belongs to the role alone, whose files need it", "take it off")
IMAGES_OWN = (
    "is fixed by the image, and its health check asks there",
    "override port, the number on the node,",
)


def optional(fixed: tuple[str, str] | None = None, /, **fields: Field) -> dict[str, Field]:
    """Return fields that may be missing."""
    return {name: field._replace(required=False, fixed=fixed) for name, field in fields.items()}


PORT = {
    "port": Field(PORT_NUMBER, "number on the node"),
    "container": Field(PORT_NUMBER, "number inside the container", fixed=IMAGES_OWN),
    "from": Field(AUDIENCE, "who may reach it; Docker enforces `localhost` and `[]`, the firewall the rest"),
    "tls": Field(BOOLEAN, "true: with TLS, and a certificate of the site's CA", False, fixed=ROLES_OWN),
}
HEALTH = {
    "test": Field(COMMAND, "exits 0 while the service is healthy"),
    "interval_s": Field(SECONDS, "time between two checks"),
    "timeout_s": Field(SECONDS, "a check that takes longer has failed"),
    "retries": Field(Kind(is_whole(1), "a whole number from 1"), "failures in a row that make it unhealthy"),
    "start_s": Field(
        Kind(is_whole(0), "a whole number of seconds"), "failures this soon after the start do not count"
    ),
}
PAGE = {"port": Field(PORT_NAME, "port of the page"), "path": Field(PATH, "path of the page")}
METRICS = PAGE | {
    "interval_s": Field(SECONDS, "scrape interval, if longer than the default", False),
    "token": Field(NAME, "secret that Prometheus sends as its token", False),
}
DASHBOARD = PAGE | {
    "title": Field(NAME, "title of the page, else the service's name", False),
    "link": Field(BOOLEAN, "whether the dashboards of Grafana link to it for operators", False),
}
INGRESS = {
    "at": Field(
        one_of("gateway", "node"),
        "nginx that serves the page: beside Kong, wherever the page is, or on its node",
    ),
    **optional(
        login=Field(
            one_of("own", "admin", "none"),
            "`own`: that of the page (default); `admin`: nginx asks for the name and key of an admin of "
            "`site_users`; `none`: nobody logs in through nginx",
        ),
        path=Field(PATH, "path that nginx puts before the page's own and removes from requests, else none"),
        login_path=Field(NAME, "path below the page that nginx refuses if `login` is `none`"),
        websocket=Field(BOOLEAN, "whether WebSockets and uploads pass; else 60 s and 1 MiB per request"),
        network=Field(NETWORK, "network of the page, which nginx joins, else the node's"),
    ),
}
DATASOURCE = {
    "type": Field(one_of("prometheus", "alertmanager"), "type of the data source in Grafana"),
    "port": Field(PORT_NAME, "port that Grafana queries"),
    "interval_s": Field(SECONDS, "time between two samples of `prometheus`", False),
}
DATABASE_ROLE = {"secret": Field(NAME, "secret with its password")}
KEPT = optional(
    volume=Field(NAME, "a volume: copied, covered by `dump`, or not kept because of `none`"),
    dump=Field(
        RELATIVE,
        "program below the service's folder on the node; as root it leaves consistent files in the folder "
        "that is its argument, or fails with one sentence",
    ),
    path=Field(PATH, "files of the host"),
    none=Field(Kind(is_text, "the reason, a sentence"), "why `volume` is not kept"),
    sqlite=Field(RELATIVES, "database files in `volume`, copied while they are in use"),
    exclude=Field(RELATIVES, "what is not copied, relative to `volume` or `path`; `*` and `**` as in restic"),
    copies=Field(Kind(is_whole(1, 2), "1 or 2"), "how many stores have it, else 2"),
    disk_gb=Field(
        Kind(is_whole(0), "a whole number of GiB"),
        "size it may reach in a store, else the service's `disk_gb`",
    ),
)
# Way to keep what an entry names, the first that fits, and the keys that go with it.
KEEPING: dict[str, tuple[str, ...]] = {
    "none": ("volume",),
    "dump": ("volume", "copies", "disk_gb"),
    "path": ("exclude", "copies", "disk_gb"),
    "volume": ("sqlite", "exclude", "copies", "disk_gb"),
}
UNIT = {
    "name": Field(NAME, "name of the unit, which also starts at boot; `.service` may be left out"),
    "boot": Field(BOOLEAN, "true: it runs at boot only, and a run does not start it", False),
    "waits": Field(BOOLEAN, "true: it restarts until another node answers", False),
}
RULE = optional(
    change=Field(
        one_of(*CHANGES), f"what a change means for the service's containers; default: {CHANGES[0]}"
    ),
    restart=Field(UNITS, "restarted after a change"),
    reload=Field(UNITS, "reloaded after a change"),
    mode=Field(MODE, "permissions; else 0644, 0755 for what is executable here, 0400 below `secrets`"),
    merge=Field(Kind(is_text, "json", ("json",)), "merges our part into a file shared with others"),
    accept=Field(Kind(is_names, "a list of texts"), "other accepted contents"),
    validate=Field(Kind(is_kind(str), "a command"), "checks a new version on the node; `%s` is its path"),
    trial=Field(
        PATH,
        "program that takes the new version on trial (`try`) until a new connection confirms it (`confirm`)",
    ),
    keys_only=Field(BOOLEAN, "true: it ends password logins; refused unless a key opens a new connection"),
)
PROGRAMS = optional(
    check=Field(COMMAND_LINE, "reads new files at their paths; `@arguments@` are those of the container"),
    reload=Field(COMMAND_LINE, "makes the running container read its files again"),
    confirm=Field(COMMAND_LINE, "succeeds in the container once it uses the new files"),
)
PROVISION = optional(
    command=Field(COMMAND_LINE, "runs in the container; without it `tasks/provision.yml` is included"),
    inputs=Field(MAPPING, "values it depends on; a change provisions again"),
    probe=Field(Kind(is_text, "a path or a URL"), "file or page of the node that `when` tests as `probe`"),
    when=Field(Kind(is_text, "a condition"), "also provisions if true, as a task's `when`"),
    last=Field(BOOLEAN, "true: it needs another node, so it runs last on this one"),
)
DECLARED = optional(
    ROLES_OWN,
    packages=Field(NAMES, "packages of the distribution"),
    units=Field(LISTED, "systemd units that run", keys=UNIT),
    files=Field(NAMED, "what a change of a file means; the first matching pattern applies", keys=RULE),
    containers=Field(NAMED, "what checks and reloads a container's files", keys=PROGRAMS),
    provision=Field(ONE, "what sets up the running service", keys=PROVISION),
)
FIELDS = {
    "summary": Field(Kind(is_text, "a few words"), "what it is"),
    "image": Field(IMAGE, "image of its container; null: the host itself runs it", nullable=True),
    "architectures": Field(BUILDS, "what the image is built for, else both", False),
    "memory_mb": Field(Kind(is_whole(1), "a whole number of MiB from 1"), "hard limit of the main container"),
    "disk_gb": Field(Kind(is_whole(0), "a whole number of GiB"), "size its data may reach, else 0", False),
    **optional(
        ports=Field(NAMED, "what it listens on", keys=PORT),
        health=Field(
            ONE, "the container's own health check; null without an image", nullable=True, keys=HEALTH
        ),
        reaches=Field(
            REACHED,
            "what its container connects to besides `needs`, if it runs anywhere; `lan`: `site_network`, "
            "of nodes nothing of the toolkit's; `internet`: all else",
        ),
        secrets=Field(NAMES, "names that need a value in `site_secrets`"),
        metrics=Field(ONE, "the page Prometheus scrapes", nullable=True, keys=METRICS),
        backup=Field(
            LISTED,
            "what is kept of its data, each entry in one way: `volume`, `dump`, `path` or `none`",
            keys=KEPT,
        ),
    ),
    **optional(
        ROLES_OWN,
        drill=Field(
            RELATIVE, "program of the role, `files/drill.py`: a store runs it on a restored copy every night"
        ),
        one_major=Field(
            BOOLEAN,
            "true: another major version of the image cannot read its data; a change to one is refused",
        ),
    ),
    **optional(
        uid=Field(USER, "user of its main container, who may read its secret files, else root"),
        unit=Field(UNIT_NAME, "unit whose state is the service's, if the host runs it", nullable=True),
        needs=Field(SERVICES, "what must run on some node"),
        beside=Field(SERVICES, "what must run on the same node"),
        databases=Field(NAMES, "created by postgres, each with a role and the secret `<name>_db_password`"),
        buckets=Field(NAMES, "created by the object store, with a user and the secret `<service>_s3_secret`"),
        probe=Field(ONE, "the page the blackbox exporter probes", nullable=True, keys=PAGE),
        dashboard=Field(ONE, "its web page", nullable=True, keys=DASHBOARD),
        ingress=Field(
            ONE,
            "how nginx serves `dashboard`, below its path or that of `ingress`; not if that is /",
            nullable=True,
            keys=INGRESS,
        ),
        datasource=Field(ONE, "what Grafana queries", nullable=True, keys=DATASOURCE),
        database_roles=Field(
            NAMED,
            "roles created by postgres besides those of `databases`; `roles/<service>/files/postgres.sql` "
            "yields the statements that are missing for them",
            keys=DATABASE_ROLE,
        ),
    ),
    **DECLARED,
}


def file_of(service: str) -> str:
    """Return the file that says what a service is."""
    return f"roles/{service}/meta/service.yml"


def completed(said: object) -> object:
    """Return what a service's file says, with what every reader asks for and the file may leave out."""
    if not isinstance(said, Mapping):
        return said
    usual = {"architectures": [*ARCHITECTURES], "disk_gb": 0}
    return {**usual, "ports": {}, "health": None, "secrets": [], "metrics": None, **said}


def load(roles: Path) -> dict[str, Any]:
    """Return service -> what its file says; a role without that file is no service.

    Raises ValueError with one sentence for all files that are no YAML.
    """
    found: dict[str, Any] = {}
    invalid: list[str] = []
    for path in sorted(roles.glob("*/meta/service.yml")):
        service = path.parents[1].name
        try:
            found[service] = completed(yaml.load(path.read_bytes(), Loader=YAML_LOADER))
        except yaml.YAMLError as error:
            invalid.append(f"{file_of(service)}: {' '.join(str(error).split())}")
    if invalid:
        raise ValueError("; ".join([*invalid, "correct the syntax"]))
    return found


def split(said: object) -> tuple[object, dict[str, Any]]:
    """Divide what a service's file says: what the service is, and what it deploys to a node."""
    if not isinstance(said, Mapping):
        return said, {}
    declared = {key: said[key] for key in DECLARED if key in said}
    return {key: value for key, value in said.items() if key not in declared}, declared


def services_in(roles: Path) -> dict[str, Any]:
    """Return service -> what it is, without what it deploys to a node; raise as `load` does."""
    return {service: split(said)[0] for service, said in load(roles).items()}


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return `override` laid over `base`: mappings are merged key by key, anything else is replaced."""
    both = [key for key, value in override.items() if isinstance(value, Mapping)]
    deep = {key: merged(base[key], override[key]) for key in both if isinstance(base.get(key), Mapping)}
    return {**base, **override, **deep}


def keeping_problems(reader: Reader, backup: object) -> Iterator[str]:
    """Yield entries of `backup`, with known keys only, that say not exactly one way to keep something."""
    seen: list[object] = []
    for number, kept in enumerate(backup if isinstance(backup, list) else []):
        if not isinstance(kept, Mapping) or not kept or not set(kept) <= set(KEPT):
            continue
        key, ways = f"backup.{number}", [way for way in KEEPING if way in kept]
        if not ways:
            yield reader.wrong(key, shown(kept), "must have volume, dump, path or none", "add one of them")
            continue
        for other in [name for name in kept if name not in (ways[0], *KEEPING[ways[0]])]:
            yield reader.wrong(
                f"{key}.{other}", shown(kept[other]), f"does not go with {ways[0]}", "remove it"
            )
        if ways == ["none"]:
            yield reader.wrong(f"{key}.volume", "missing", "must be the volume that is not kept", "add it")
        if kept.get("volume") in seen:
            yield reader.wrong(
                f"{key}.volume", shown(kept["volume"]), "is in an entry before this one", "keep one of them"
            )
        seen += [kept["volume"]] if "volume" in kept else []


def problems(
    subject: str, entry: object, place: str, tiers: Sequence[str], base: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield one sentence for each mistake in a service's file, or in overrides over the entry `base`.

    `subject` names the entry in the sentences, `place` is the file to correct.
    """
    layers = [below(layer, "ports") for layer in (base, entry) if isinstance(layer, Mapping)]
    ports = [str(name) for layer in layers if isinstance(layer, Mapping) for name in layer]
    words = {"architectures": ARCHITECTURES, "audiences": (*tiers, *AUDIENCES), "ports": ports}
    reader = Reader(subject, place, words)
    yield from reader.mapping("", entry, FIELDS, base)
    yield from keeping_problems(reader, below(entry, "backup"))
