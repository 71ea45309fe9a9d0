"""Which route a request takes, and the path it is sent on with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .config import Route


@dataclass(frozen=True)
class Match:
    """A route and what its path matched: `prefix` is cut off by strip_path."""

    route: Route
    prefix: str


@dataclass(frozen=True)
class Candidate:
    """One path of a route (None: any path), in the order of trying."""

    route: Route
    path: str | None
    regex: re.Pattern[str] | None
    order: tuple[int, int, int, int, int]


class Router:
    """Routes in Kong's order: more kinds of conditions first, then regex paths, then the longest path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Sort the routes once."""
        candidates = [
            candidate(route, path, index)
            for index, route in enumerate(routes)
            for path in (route.paths or (None,))
        ]
        self._candidates = sorted(candidates, key=lambda c: c.order)

    def match(self, method: str, path: str, host: str, headers: Mapping[str, str]) -> Match | None:
        """Return the first route that fits, or None."""
        for one in self._candidates:
            prefix = matched_prefix(one, path)
            if prefix is not None and other_conditions(one.route, method, host, headers):
                return Match(one.route, prefix)
        return None


def candidate(route: Route, path: str | None, index: int) -> Candidate:
    """Return a route's path with its place in the order: smaller is tried first."""
    regex = re.compile(path[1:]) if path and path.startswith("~") else None
    kinds = sum(bool(kind) for kind in (route.methods, route.hosts, route.headers, route.paths))
    order = (-kinds, 0 if regex else 1, -route.regex_priority if regex else 0, -len(path or ""), index)
    return Candidate(route, path, regex, order)


def matched_prefix(one: Candidate, path: str) -> str | None:
    """Return the part of the path that matched, or None. Prefixes are not cut at segments."""
    if one.regex:
        found = one.regex.match(path)
        return found.group(0) if found else None
    if one.path is None:
        return ""
    return one.path if path.startswith(one.path) else None


def other_conditions(route: Route, method: str, host: str, headers: Mapping[str, str]) -> bool:
    """Return whether method, host and headers fit too."""
    if route.methods and method not in route.methods:
        return False
    if route.hosts and not any(host_fits(wanted, host) for wanted in route.hosts):
        return False
    return all(
        any(value_fits(value, headers.get(name)) for value in values)
        for name, values in route.headers.items()
    )


def host_fits(wanted: str, host: str) -> bool:
    """Return whether a host fits, with a `*` at one end."""
    bare = host.partition(":")[0].lower()
    if wanted.startswith("*"):
        return bare.endswith(wanted[1:])
    if wanted.endswith("*"):
        return bare.startswith(wanted[:-1])
    return bare == wanted


def value_fits(wanted: str, value: str | None) -> bool:
    """Return whether a header's value fits; `~*` begins a regex without regard to case."""
    if value is None:
        return False
    if wanted.startswith("~*"):
        return re.search(wanted[2:], value, re.IGNORECASE) is not None
    return value.lower() == wanted.lower()


def upstream_path(base: str | None, path: str, prefix: str, *, strip: bool) -> str:
    """Return the path sent on, by the rules of path handling v0.

    `base` is the service's path, `prefix` what the route matched of the request's `path`.
    """
    root = base or "/"
    if not strip:
        if root.endswith("/"):
            return root + path[1:]
        return root if path == "/" else root + path
    rest = path[len(prefix) :]
    if not rest:
        if root == "/":
            return "/"
        trailing = path.endswith("/") and (root.endswith("/") or len(path) > 1)
        return root.rstrip("/") + ("/" if trailing else "")
    return root.removesuffix("/") + "/" + rest.removeprefix("/")
