"""The declarative file: read, checked as Kong checks it, and turned into entities."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml

from .fields import InvalidError, Problem, filled, record_problems
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
        raise InvalidError([Problem(path.name, f"unknown file type: {path}. (Accepted types: json, yaml)")])
    return parse(path.read_text(), plugins)


def parse(text: str, plugins: Iterable[str]) -> Config:
    """Turn the text of a file into a configuration. Raises InvalidError."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        message = f"failed parsing declarative configuration: {problem}"
        raise InvalidError([Problem("file", message)]) from None
    if problems := list(record_problems(TOP, tree)):
        raise InvalidError(problems)
    return Reader(frozenset(plugins)).config(filled(TOP, tree), md5(text.encode()).hexdigest())


class Reader:
    """Builds entities from a tree whose fields are known to be good; collects what does not fit together."""

    def __init__(self, enabled: frozenset[str]) -> None:
        self._enabled = enabled
        self._problems: list[Problem] = []
        self._taken: set[tuple[str, str]] = set()

    def config(self, tree: Record, digest: str) -> Config:
        """Return the configuration. Raises InvalidError."""
        everywhere = self._plugins(tree["plugins"], "plugins", NOBODY)
        upstreams = dict(self._upstreams(tree["upstreams"]))
        routes = tuple(self._routes(tree["services"], upstreams, everywhere))
        credentials = dict(self._credentials(tree["consumers"]))
        if self._problems:
            raise InvalidError(self._problems)
        return Config(digest, routes, upstreams, credentials)

    def _wrong(self, path: str, message: str) -> None:
        self._problems.append(Problem(path, message))

    def _take(self, path: str, kind: str, name: str) -> None:
        if (kind, name) in self._taken:
            self._wrong(path, f"uniqueness violation: '{name}' is used twice")
        self._taken.add((kind, name))

    def _upstreams(self, raw: list[Record]) -> Iterator[tuple[str, Upstream]]:
        for where, one in members(raw, "upstreams"):
            name = one["name"]
            self._take(f"{where}.name", "upstream", name)
            targets = []
            for path, target in members(one["targets"], f"{where}.targets"):
                self._take(f"{path}.target", f"target of {name}", target["target"])
                host, _, port = target["target"].rpartition(":")
                tags = tuple(target["tags"])
                targets.append(Target(target["target"], host, int(port), target["weight"], tags))
            yield name, Upstream(name, one["healthchecks"], tuple(targets))

    def _routes(
        self, raw: list[Record], upstreams: dict[str, Upstream], everywhere: list[Plugin]
    ) -> Iterator[Route]:
        for where, one in members(raw, "services"):
            service = Service(
                id_of("services", one["name"]), one["name"], one["host"], one["path"], one["retries"],
                one["connect_timeout"], one["write_timeout"], one["read_timeout"],
            )  # fmt: skip
            self._take(f"{where}.name", "service", service.name)
            if service.host not in upstreams:
                message = f"there is no upstream '{service.host}'; this stand-in for Kong resolves no names"
                self._wrong(f"{where}.host", message)
            for path, route in members(one["routes"], f"{where}.routes"):
                name, own_id = route["name"], id_of("routes", route["name"])
                self._take(f"{path}.name", "route", name)
                own = self._plugins(route["plugins"], f"{path}.plugins", own_id)
                # The route's configuration of a plugin counts before everybody's.
                by_name = {plugin.name: plugin for plugin in [*everywhere, *own]}
                in_order = tuple(by_name[name] for name in PLUGINS if name in by_name)
                paths, methods = tuple(route["paths"]), frozenset(route["methods"])
                yield Route(own_id, name, service, paths, methods, route["strip_path"], in_order)

    def _credentials(self, raw: list[Record]) -> Iterator[tuple[str, Credential]]:
        for where, one in members(raw, "consumers"):
            name = one["username"]
            self._take(f"{where}.username", "consumer", name)
            for path, credential in members(one["keyauth_credentials"], f"{where}.keyauth_credentials"):
                key = credential["key"]
                self._take(f"{path}.key", "key", key)
                yield key, Credential(id_of("keys", key), key, id_of("consumers", name), name)

    def _plugins(self, raw: list[Record], path: str, route: str) -> list[Plugin]:
        found = []
        for where, one in members(raw, path):
            name = one["name"]
            self._take(where, f"plugin of {route}", name)
            problems = list(self._plugin_problems(name, one["config"], where))
            self._problems += problems
            if not problems:
                full = filled(PLUGINS[name], one["config"])
                found.append(Plugin(id_of("plugins", name, route), name, full, route))
        return found

    def _plugin_problems(self, name: str, config: Record, where: str) -> Iterator[Problem]:
        if name not in PLUGINS:
            yield Problem(f"{where}.name", f"plugin '{name}' is not in this stand-in for Kong")
            return
        if name not in self._enabled:
            message = f"plugin '{name}' not enabled; add it to the 'plugins' configuration property"
            yield Problem(f"{where}.name", message)
        yield from record_problems(PLUGINS[name], config, f"{where}.config")
        if name == "rate-limiting" and config.get("policy") == "redis" and not config.get("redis"):
            yield Problem(f"{where}.config.redis.host", "required field missing")
        if name in FUNCTION_PLUGINS:
            texts = [text for phase in PLUGINS[name] for text in config.get(phase) or []]
            if not texts:
                message = f"at least one of these fields must be non-empty: {', '.join(PLUGINS[name])}"
                yield Problem(f"{where}.config", message)
            for problem in filter(None, map(syntax_problem, texts)):
                yield Problem(f"{where}.config", f"error parsing {name}: {problem}")


def members(records: list[Record], path: str) -> Iterator[tuple[str, Record]]:
    """Yield each record with its place, counted from 1 as Lua does."""
    for index, record in enumerate(records, start=1):
        yield f"{path}[{index}]", record
