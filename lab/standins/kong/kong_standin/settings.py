"""Settings from `KONG_*` variables, under Kong's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from .schema import PLUGINS

OFF = "off"
DIRECTIVES = ("nginx_main_", "nginx_http_", "nginx_proxy_")
"""What follows is a directive of nginx."""
WITHOUT_EFFECT = frozenset([
    "admin_access_log", "admin_error_log", "admin_gui_listen", "anonymous_reports", "dns_order",
    "dns_valid_ttl", "lmdb_map_size", "mem_cache_size", "nginx_worker_processes", "proxy_error_log",
    "request_debug", "status_access_log", "status_error_log", "stream_listen",
    "upstream_keepalive_pool_size",
])  # fmt: skip
"""Kong's settings that this stand-in accepts and does without. Kong itself is silent about a misspelt one."""


@dataclass(frozen=True)
class Listen:
    """Where to listen."""

    host: str
    port: int


@dataclass(frozen=True)
class Settings:
    """What this stand-in understands of Kong's settings; `None` listeners are off."""

    declarative_config: Path | None
    prefix: Path
    proxy: Listen | None
    admin: Listen | None
    status: Listen | None
    plugins: frozenset[str]
    headers: frozenset[str]
    headers_upstream: frozenset[str]
    trusted_ips: tuple[IPv4Network | IPv6Network, ...]
    real_ip_header: str
    real_ip_recursive: bool
    log_level: str
    access_log: str
    log_format: str
    sandbox_requires: frozenset[str]
    sandboxed: bool
    socket_keepalive: bool


def values_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return option -> value; `KONG_X_FILE` names a file with the value of `x`, as for the real image."""
    values = {n[5:].lower(): v for n, v in environment.items() if n.startswith("KONG_")}
    for name in [n for n in values if n.endswith("_file")]:
        values.setdefault(name.removesuffix("_file"), Path(values.pop(name)).read_text().strip())
    return values


def listen_of(text: str) -> Listen | None:
    """Return the first address of a listen option; `off` is None. Raises ValueError."""
    first = text.partition(",")[0].strip().partition(" ")[0]
    if first in ("", OFF):
        return None
    host, _, port = first.rpartition(":")
    return Listen(host, int(port))


def words(text: str) -> frozenset[str]:
    """Return the members of a comma separated list; `off` is the empty one."""
    return frozenset(part.strip() for part in text.split(",") if part.strip() and part.strip() != OFF)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raises ValueError for what this stand-in cannot do or read."""
    values = values_of(environment)
    if values.pop("database", "") != OFF:
        raise ValueError("database: this stand-in has none; set KONG_DATABASE=off")
    plugins = words(values.pop("plugins", "bundled"))
    if "bundled" in plugins:
        plugins = (plugins - {"bundled"}) | frozenset(PLUGINS)
    config = values.pop("declarative_config", "")
    settings = Settings(
        declarative_config=Path(config) if config else None,
        prefix=Path(values.pop("prefix", "/usr/local/kong")),
        proxy=listen_of(values.pop("proxy_listen", "0.0.0.0:8000")),
        admin=listen_of(values.pop("admin_listen", "127.0.0.1:8001")),
        status=listen_of(values.pop("status_listen", "127.0.0.1:8007")),
        plugins=plugins,
        headers=words(values.pop("headers", "server_tokens, latency_tokens, X-Kong-Request-Id")),
        headers_upstream=words(values.pop("headers_upstream", "X-Kong-Request-Id")),
        trusted_ips=tuple(ip_network(net) for net in sorted(words(values.pop("trusted_ips", "")))),
        real_ip_header=values.pop("real_ip_header", "X-Real-IP"),
        real_ip_recursive=values.pop("real_ip_recursive", OFF) == "on",
        log_level=values.pop("log_level", "notice"),
        access_log=values.pop("proxy_access_log", "logs/access.log"),
        log_format=values.pop("nginx_http_log_format", ""),
        sandbox_requires=words(values.pop("untrusted_lua_sandbox_requires", "")),
        sandboxed=values.pop("untrusted_lua", "sandbox") == "sandbox",
        socket_keepalive=values.pop("nginx_proxy_proxy_socket_keepalive", OFF) == "on",
    )
    unknown = {name for name in values.keys() - WITHOUT_EFFECT if not name.startswith(DIRECTIVES)}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no setting of Kong that this stand-in has heard of")
    return settings
