"""The declarative file: read, checked as Kong checks it, and turned into entities."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml

from .fields import InvalidError, problems_of, wrong
from .lua_functions import syntax_problem
from .schema import FUNCTION_PLUGINS, PLUGINS, TOP

NOBODY = "00000000-0000-0000-0000-000000000000"
Record = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """Where requests go: `host` is an upstream. Timeouts in milliseconds."""

    id: str
    name: str
    host: str
    path: str
    retries: int
    connect_timeout: int
    write_timeout: int
    read_timeout: int


@dataclass(frozen=True)
class Plugin:
    """A configured plugin; `route` is the id of its route, or nobody's."""

    id: str
    name: str
    config: Record
    route: str


@dataclass(frozen=True)
class Route:
    """Which requests go to a service, and the plugins they pass, in order."""

    id: str
    name: str
    service: Service
    paths: tuple[str, ...]
    methods: frozenset[str]
    strip_path: bool
    plugins: tuple[Plugin, ...]


@dataclass(frozen=True)
class Target:
    """A member of an upstream; `name` is as written, with the port."""

    name: str
    host: str
    port: int
    weight: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Upstream:
    """Targets and how they are checked; `hashed`: each consumer has one of them, else they take turns."""

    name: str
    hashed: bool
    healthchecks: Record
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Credential:
    """Whose a key is; `plugins` are those of its consumer, by name."""

    consumer_id: str
    username: str
    tags: tuple[str, ...] = ()
    plugins: Mapping[str, Plugin] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """Everything that is configured; `credentials` by key, `upstreams` by name, plugins `everywhere`."""

    hash: str
    everywhere: tuple[Plugin, ...]
    routes: tuple[Route, ...]
    upstreams: dict[str, Upstream]
    credentials: dict[str, Credential]


def id_of(kind: str, *names: str) -> str:
    """Return the same id for the same name, so that reloads keep counters."""
    return str(uuid5(NAMESPACE_URL, "/".join([kind, *names])))


def load(path: Path, plugins: Iterable[str]) -> Config:
    """Read a file. Raises InvalidError with every problem, OSError for a file that cannot be read."""
    return parse(path.read_text(), plugins)


def parse(text: str, plugins: Iterable[str]) -> Config:
    """Turn the text of a file into a configuration. Raises InvalidError."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise InvalidError(f"failed parsing declarative configuration: {problem}") from None
    if problems := list(problems_of(TOP, tree)) or list(plugin_problems(tree, frozenset(plugins))):
        raise InvalidError("\n".join(problems))
    upstreams = {
        one["name"]: Upstream(
            one["name"], "hash_on" in one, one["healthchecks"], tuple(map(target_of, one["targets"]))
        )
        for one in tree.get("upstreams", ())
    }
    credentials = {
        key["key"]: Credential(
            own_id, one["username"], tuple(key["tags"]), plugins_of(one.get("plugins", []), NOBODY, own_id)
        )
        for one in tree["consumers"]
        for own_id in [id_of("consumers", one["username"])]
        for key in one["keyauth_credentials"]
    }
    everywhere = plugins_of(tree["plugins"], NOBODY)
    routes = tuple(route for one in tree.get("services", ()) for route in routes_of(one, everywhere))
    always = tuple(everywhere.values())
    return Config(md5(text.encode()).hexdigest(), always, routes, upstreams, credentials)


def target_of(one: Record) -> Target:
    """Return a target."""
    host, _, port = one["target"].rpartition(":")
    return Target(one["target"], host, int(port), one["weight"], tuple(one["tags"]))


def plugins_of(raw: list[Record], route: str, consumer: str = NOBODY) -> dict[str, Plugin]:
    """Return name -> plugin, of a route, of a consumer or of nobody's."""
    return {
        one["name"]: Plugin(id_of("plugins", one["name"], route, consumer), one["name"], one["config"], route)
        for one in raw
    }


def routes_of(raw: Record, everywhere: dict[str, Plugin]) -> Iterator[Route]:
    """Yield the routes of a service. Their own configuration of a plugin counts before everybody's."""
    named = {name: raw[name] for name in Service.__annotations__ if name != "id"}
    service = Service(id=id_of("services", raw["name"]), **named)
    for one in raw["routes"]:
        own_id = id_of("routes", one["name"])
        by_name = everywhere | plugins_of(one["plugins"], own_id)
        in_order = tuple(by_name[name] for name in PLUGINS if name in by_name)
        paths, methods = tuple(one["paths"]), frozenset(one["methods"])
        yield Route(own_id, one["name"], service, paths, methods, one["strip_path"], in_order)


def plugin_problems(tree: Record, enabled: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with the plugins of a tree whose other fields are good."""
    holders = [route for service in tree.get("services", ()) for route in service["routes"]]
    holders += [consumer for consumer in tree["consumers"] if "plugins" in consumer]
    for one in [*tree["plugins"], *(plugin for holder in holders for plugin in holder["plugins"])]:
        name, config, path = one["name"], one["config"], one["instance_name"]
        if name not in PLUGINS:
            yield wrong(path, f"plugin '{name}' is not in this stand-in for Kong")
            continue
        if name not in enabled:
            yield wrong(path, f"plugin '{name}' not enabled; add it to the 'plugins' configuration property")
        problems = list(problems_of(PLUGINS[name], config, path))
        if name in FUNCTION_PLUGINS and not problems:
            texts = [text for functions in config.values() for text in functions]
            problems = [wrong(path, found) for found in map(syntax_problem, texts) if found]
        yield from problems
