"""The declarative file: read, checked as Kong checks it, and turned into entities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import yaml

from .fields import InvalidError, Problem, filled, record_problems
from .lua_functions import syntax_problem
from .schema import LUA_PHASES, PLUGIN, PLUGINS, ROUTE, SERVICE, TARGET, TOP, UPSTREAM, rate_limit_problem

EMPTY_HASH = "0" * 32
FUNCTION_PLUGINS = ("pre-function", "post-function")


@dataclass(frozen=True)
class Service:
    """Where requests go; timeouts in milliseconds."""

    id: str
    name: str
    host: str
    port: int
    path: str | None
    retries: int
    connect_timeout: int
    write_timeout: int
    read_timeout: int
    enabled: bool


@dataclass(frozen=True)
class Route:
    """Which requests go there."""

    id: str
    name: str
    service: Service | None
    protocols: tuple[str, ...]
    paths: tuple[str, ...]
    hosts: tuple[str, ...]
    methods: frozenset[str]
    headers: dict[str, list[str]]
    strip_path: bool
    preserve_host: bool
    regex_priority: int
    response_buffering: bool


@dataclass(frozen=True)
class Target:
    """A member of an upstream; `name` is as written, with the port."""

    id: str
    name: str
    host: str
    port: int
    weight: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Upstream:
    """Targets and how they are checked; `healthchecks` has all of Kong's fields."""

    id: str
    name: str
    host_header: str | None
    healthchecks: dict[str, Any]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Consumer:
    """Who asks."""

    id: str
    username: str | None
    custom_id: str | None


@dataclass(frozen=True)
class Credential:
    """A key and whose it is."""

    id: str
    key: str
    consumer: Consumer


@dataclass(frozen=True, eq=False)
class Plugin:
    """A configured plugin; service, route and consumer are names, None means all."""

    id: str
    name: str
    config: dict[str, Any]
    service: str | None = None
    route: str | None = None
    consumer: str | None = None


@dataclass(frozen=True)
class Config:
    """Everything that is configured."""

    hash: str = EMPTY_HASH
    services: dict[str, Service] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    credentials: dict[str, Credential] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()


def id_of(kind: str, *names: str | None) -> str:
    """Return the same id for the same name, so that reloads keep counters."""
    return str(uuid5(NAMESPACE_URL, "/".join([kind, *(name or "" for name in names)])))


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
        raise InvalidError(
            [Problem("file", f"failed parsing declarative configuration: {problem}")]
        ) from None
    if not isinstance(tree, dict):
        raise InvalidError([Problem("file", "expected an object")])
    if problems := list(record_problems(TOP, tree, "")):
        raise InvalidError(problems)
    return Reader(tree, frozenset(plugins)).config(md5(text.encode(), usedforsecurity=False).hexdigest())


class Reader:
    """Builds entities from a tree whose fields are known to be good; collects what does not fit together."""

    def __init__(self, tree: dict[str, Any], enabled: frozenset[str]) -> None:
        """Start with a checked tree and the plugins that may be used."""
        self._tree = filled(TOP, tree)
        self._enabled = enabled
        self._problems: list[Problem] = []
        self._plugins: list[Plugin] = []

    def config(self, digest: str) -> Config:
        """Return the configuration. Raises InvalidError."""
        services, raw_routes = self._services()
        routes = self._routes(services, raw_routes)
        upstreams = self._upstreams()
        consumers, credentials = self._consumers()
        for where, plugin in members(self._tree["plugins"], "plugins"):
            self._plugin(plugin, where)
        self._check_scopes(services, routes, consumers)
        if self._problems:
            raise InvalidError(self._problems)
        return Config(
            # As in Kong, a file without entities has the hash of no configuration.
            digest if services or routes or upstreams or consumers or self._plugins else EMPTY_HASH,
            services, routes, upstreams, consumers, credentials, tuple(self._plugins),
        )  # fmt: skip

    def _wrong(self, path: str, message: str) -> None:
        self._problems.append(Problem(path, message))

    def _services(self) -> tuple[dict[str, Service], list[tuple[str, dict[str, Any], str | None]]]:
        services: dict[str, Service] = {}
        routes: list[tuple[str, dict[str, Any], str | None]] = []
        for where, raw in members(self._tree["services"], "services"):
            one = filled(SERVICE, raw | url_parts(raw.get("url")))
            name = one["name"] or one["host"]
            if name in services:
                self._wrong(f"{where}.name", f"uniqueness violation: '{name}' is used twice")
            services[name] = Service(
                id_of("services", name), name, one["host"], one["port"], one["path"], one["retries"],
                one["connect_timeout"], one["write_timeout"], one["read_timeout"], one["enabled"],
            )  # fmt: skip
            routes += [(path, route, name) for path, route in members(one["routes"], f"{where}.routes")]
            for path, plugin in members(one["plugins"], f"{where}.plugins"):
                self._plugin(plugin, path, service=name)
        routes += [
            (path, route, route.get("service")) for path, route in members(self._tree["routes"], "routes")
        ]
        return services, routes

    def _routes(
        self, services: dict[str, Service], raw: list[tuple[str, dict[str, Any], str | None]]
    ) -> tuple[Route, ...]:
        routes: dict[str, Route] = {}
        for where, raw_route, service in raw:
            one = filled(ROUTE, raw_route)
            name = one["name"] or where
            if service is not None and service not in services:
                self._wrong(f"{where}.service", f"invalid reference: there is no service '{service}'")
            if not any(one[attribute] for attribute in ("methods", "hosts", "headers", "paths")):
                self._wrong(where, "must set one of 'methods', 'hosts', 'headers', 'paths'")
            if name in routes:
                self._wrong(f"{where}.name", f"uniqueness violation: '{name}' is used twice")
            routes[name] = Route(
                id_of("routes", name), name, services.get(service or ""), tuple(one["protocols"]),
                tuple(one["paths"] or ()), tuple(one["hosts"] or ()), frozenset(one["methods"] or ()),
                one["headers"] or {}, one["strip_path"], one["preserve_host"], one["regex_priority"],
                one["response_buffering"],
            )  # fmt: skip
            for path, plugin in members(one["plugins"], f"{where}.plugins"):
                self._plugin(plugin, path, route=name)
        return tuple(routes.values())

    def _upstreams(self) -> dict[str, Upstream]:
        raw_targets: dict[str, list[dict[str, Any]]] = {}
        for where, target in members(self._tree["targets"], "targets"):
            raw_targets.setdefault(target.get("upstream") or "", []).append(target)
            if target.get("upstream") not in {upstream["name"] for upstream in self._tree["upstreams"]}:
                self._wrong(f"{where}.upstream", f"invalid reference: no upstream '{target.get('upstream')}'")
        upstreams: dict[str, Upstream] = {}
        for where, raw in members(self._tree["upstreams"], "upstreams"):
            one = filled(UPSTREAM, raw)
            name = one["name"]
            if name in upstreams:
                self._wrong(f"{where}.name", f"uniqueness violation: '{name}' is used twice")
            targets = [target_of(name, t) for t in [*one["targets"], *raw_targets.get(name, [])]]
            for twice in sorted({t.name for t in targets if [x.name for x in targets].count(t.name) > 1}):
                self._wrong(f"{where}.targets", f"uniqueness violation: '{twice}' is used twice")
            upstreams[name] = Upstream(
                id_of("upstreams", name), name, one["host_header"], one["healthchecks"], tuple(targets)
            )
        return upstreams

    def _consumers(self) -> tuple[dict[str, Consumer], dict[str, Credential]]:
        consumers: dict[str, Consumer] = {}
        raw_keys: list[tuple[str, dict[str, Any], str]] = []
        for where, one in members(self._tree["consumers"], "consumers"):
            name = one.get("username") or one.get("custom_id")
            if name is None:
                self._wrong(where, "at least one of these fields must be non-empty: 'custom_id', 'username'")
                continue
            if name in consumers:
                self._wrong(f"{where}.username", f"uniqueness violation: '{name}' is used twice")
            consumers[name] = Consumer(id_of("consumers", name), one.get("username"), one.get("custom_id"))
            keys = members(one.get("keyauth_credentials") or [], f"{where}.keyauth_credentials")
            raw_keys += [(path, key, name) for path, key in keys]
            for path, plugin in members(one.get("plugins") or [], f"{where}.plugins"):
                self._plugin(plugin, path, consumer=name)
        for where, key in members(self._tree["keyauth_credentials"], "keyauth_credentials"):
            raw_keys.append((where, key, key.get("consumer") or ""))
        credentials: dict[str, Credential] = {}
        for where, one, owner in raw_keys:
            if one["key"] in credentials:
                self._wrong(f"{where}.key", "uniqueness violation: this key is used twice")
            elif owner not in consumers:
                self._wrong(f"{where}.consumer", f"invalid reference: there is no consumer '{owner}'")
            else:
                credentials[one["key"]] = Credential(
                    id_of("keyauth_credentials", one["key"]), one["key"], consumers[owner]
                )
        return consumers, credentials

    def _plugin(
        self,
        raw: dict[str, Any],
        where: str,
        service: str | None = None,
        route: str | None = None,
        consumer: str | None = None,
    ) -> None:
        one = filled(PLUGIN, raw)
        name, config = one["name"], one["config"] or {}
        if name not in PLUGINS:
            self._wrong(f"{where}.name", f"plugin '{name}' is not in this stand-in for Kong")
            return
        if name not in self._enabled:
            self._wrong(
                f"{where}.name",
                f"plugin '{name}' not enabled; add it to the 'plugins' configuration property",
            )
            return
        problems = list(record_problems(PLUGINS[name], config, f"{where}.config"))
        self._problems += problems
        full = filled(PLUGINS[name], config)
        if problems:
            return
        for message in plugin_problems(name, full):
            self._wrong(f"{where}.config", message)
        if not one["enabled"]:
            return
        scope = (service or one["service"], route or one["route"], consumer or one["consumer"])
        if any((p.name, p.service, p.route, p.consumer) == (name, *scope) for p in self._plugins):
            self._wrong(where, f"uniqueness violation: plugin '{name}' is configured twice here")
        if name == "key-auth" and scope[2]:
            self._wrong(f"{where}.consumer", "value must be null")
        self._plugins.append(Plugin(id_of("plugins", name, *scope), name, full, *scope))

    def _check_scopes(
        self, services: dict[str, Service], routes: tuple[Route, ...], consumers: dict[str, Consumer]
    ) -> None:
        names = {"service": set(services), "route": {r.name for r in routes}, "consumer": set(consumers)}
        for plugin in self._plugins:
            for kind, known in names.items():
                wanted = getattr(plugin, kind)
                if wanted is not None and wanted not in known:
                    self._wrong(f"plugins.{plugin.name}", f"invalid reference: there is no {kind} '{wanted}'")


def members(records: list[dict[str, Any]], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record with its place, counted from 1 as Lua does."""
    for index, record in enumerate(records, start=1):
        yield f"{path}[{index}]", record


def url_parts(url: str | None) -> dict[str, Any]:
    """Return the fields `url` is a shorthand for."""
    if url is None:
        return {}
    parts = urlsplit(url)
    return {
        "protocol": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or 80,
        "path": parts.path or None,
    }


def target_of(upstream: str, raw: dict[str, Any]) -> Target:
    """Return a target; without a port it has Kong's 8000."""
    one = filled(TARGET, raw)
    host, _, port = one["target"].rpartition(":") if ":" in one["target"] else (one["target"], "", "8000")
    return Target(
        id_of("targets", upstream, one["target"]), f"{host}:{port}", host, int(port), one["weight"],
        tuple(one["tags"] or ()),
    )  # fmt: skip


def plugin_problems(name: str, config: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong between the fields of a plugin."""
    if name == "rate-limiting" and (problem := rate_limit_problem(config)):
        yield problem
    if name in FUNCTION_PLUGINS:
        texts = [text for phase in LUA_PHASES for text in config[phase]]
        if not texts:
            yield "at least one of these fields must be non-empty: " + ", ".join(LUA_PHASES)
        for text in texts:
            if problem := syntax_problem(text):
                yield f"error parsing {name}: {problem}"
