"""Which route a request takes, and the path it is sent on with."""

import re
from collections.abc import Iterable

from .config import Route


class Router:
    """Paths of routes in Kong's order: regexes before prefixes, the longest first."""

    def __init__(self, routes: Iterable[Route]) -> None:
        paths = [(route, path) for route in routes for path in route.paths]
        paths.sort(key=lambda pair: (not pair[1].startswith("~"), -len(pair[1])))
        self._patterns = [
            # Prefixes end anywhere, also within a segment.
            (route, re.compile(path[1:] if path.startswith("~") else re.escape(path)))
            for route, path in paths
        ]

    def match(self, method: str, path: str) -> tuple[Route, str] | None:
        """Return the first route that fits and what it matched of the path, or None."""
        for route, pattern in self._patterns:
            if method in route.methods and (found := pattern.match(path)):
                return route, found.group(0)
        return None


def upstream_path(base: str, path: str, prefix: str, *, strip: bool) -> str:
    """Return the path sent on: the service's, `base`, and what the request has, `prefix` stripped or not."""
    rest = path[len(prefix) :] if strip else path
    return f"{base.removesuffix('/')}/{rest.removeprefix('/')}" if rest else base
