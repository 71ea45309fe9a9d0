"""The declarative file: read, checked as Kong checks it, and turned into entities."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml

from .fields import InvalidError, filled, record_problems, wrong
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
    """Targets and how they are checked."""

    name: str
    healthchecks: Record
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Credential:
    """A key and whose it is."""

    id: str
    key: str
    consumer_id: str
    username: str


@dataclass(frozen=True)
class Config:
    """Everything that is configured; `credentials` by key, `upstreams` by name."""

    hash: str
    routes: tuple[Route, ...]
    upstreams: dict[str, Upstream]
    credentials: dict[str, Credential]


def id_of(kind: str, *names: str) -> str:
    """Return the same id for the same name, so that reloads keep counters."""
    return str(uuid5(NAMESPACE_URL, "/".join([kind, *names])))


def load(path: Path, plugins: Iterable[str]) -> Config:
    """Read a file. Raises InvalidError with every problem, OSError for a file that cannot be read."""
    if path.suffix not in (".yml", ".yaml", ".json"):
        raise InvalidError(wrong(path.name, f"unknown file type: {path}. (Accepted types: json, yaml)"))
    return parse(path.read_text(), plugins)


def parse(text: str, plugins: Iterable[str]) -> Config:
    """Turn the text of a file into a configuration. Raises InvalidError."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise InvalidError(f"failed parsing declarative configuration: {problem}") from None
    if problems := "\n".join(record_problems(TOP, tree)):
        raise InvalidError(problems)
    tree = filled(TOP, tree)
    if problems := "\n".join(misfits(tree, frozenset(plugins))):
        raise InvalidError(problems)
    upstreams = {
        one["name"]: Upstream(one["name"], one["healthchecks"], tuple(map(target_of, one["targets"])))
        for one in tree["upstreams"]
    }
    credentials = {
        one["key"]: Credential(id_of("keys", one["key"]), one["key"], id_of("consumers", name), name)
        for name, keys in ((one["username"], one["keyauth_credentials"]) for one in tree["consumers"])
        for one in keys
    }
    everywhere = plugins_of(tree["plugins"], NOBODY)
    routes = tuple(route for one in tree["services"] for route in routes_of(one, everywhere))
    return Config(md5(text.encode()).hexdigest(), routes, upstreams, credentials)


def target_of(one: Record) -> Target:
    """Return a target."""
    host, _, port = one["target"].rpartition(":")
    return Target(one["target"], host, int(port), one["weight"], tuple(one["tags"]))


def plugins_of(raw: list[Record], route: str) -> dict[str, Plugin]:
    """Return name -> plugin, of a route or of nobody's."""
    configs = {one["name"]: filled(PLUGINS[one["name"]], one["config"]) for one in raw}
    return {
        name: Plugin(id_of("plugins", name, route), name, config, route) for name, config in configs.items()
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


def misfits(tree: Record, enabled: frozenset[str]) -> Iterator[str]:
    """Yield what does not fit together, in a tree whose fields are good."""
    routes = [route for service in tree["services"] for route in service["routes"]]
    keys = [key for consumer in tree["consumers"] for key in consumer["keyauth_credentials"]]
    plugins = {"plugins": tree["plugins"]} | {f"{one['name']}.plugins": one["plugins"] for one in routes}
    once = [
        *((path, "name", tree[path]) for path in ("upstreams", "services")),
        *((f"{one['name']}.targets", "target", one["targets"]) for one in tree["upstreams"]),
        *((path, "name", members) for path, members in plugins.items()),
        ("routes", "name", routes),
        ("consumers", "username", tree["consumers"]),
        ("keyauth_credentials", "key", keys),
    ]
    for path, field, members in once:
        for name, times in Counter(one[field] for one in members).items():
            if times > 1:
                yield wrong(path, f"uniqueness violation: '{name}' is used twice")
    for service in tree["services"]:
        if service["host"] not in {one["name"] for one in tree["upstreams"]}:
            message = f"there is no upstream '{service['host']}'; this stand-in for Kong resolves no names"
            yield wrong(f"services.{service['name']}.host", message)
    for path, members in plugins.items():
        for one in members:
            yield from plugin_problems(one["name"], one["config"], f"{path}.{one['name']}", enabled)


def plugin_problems(name: str, config: Record, path: str, enabled: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with the configuration of a plugin."""
    if name not in PLUGINS:
        yield wrong(path, f"plugin '{name}' is not in this stand-in for Kong")
        return
    if name not in enabled:
        yield wrong(path, f"plugin '{name}' not enabled; add it to the 'plugins' configuration property")
    yield from record_problems(PLUGINS[name], config, path)
    if name == "rate-limiting" and config.get("policy") == "redis" and not config.get("redis"):
        yield wrong(f"{path}.redis.host", "required field missing")
    if name in FUNCTION_PLUGINS:
        texts = [text for phase in PLUGINS[name] for text in config.get(phase) or []]
        if not texts:
            message = f"at least one of these fields must be non-empty: {', '.join(PLUGINS[name])}"
            yield wrong(path, message)
        for problem in filter(None, map(syntax_problem, texts)):
            yield wrong(path, f"error parsing {name}: {problem}")
