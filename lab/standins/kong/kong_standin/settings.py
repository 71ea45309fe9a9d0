"""Settings from `KONG_*` variables, under Kong's names: the ones this project sets, and no others."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from .access_log import log_pattern

# What the stand-in does, and nothing else.
FIXED = {
    "admin_access_log": "off",
    "admin_gui_listen": "off",
    "anonymous_reports": "off",
    "database": "off",
    "nginx_proxy_proxy_next_upstream": "error timeout non_idempotent",
    "nginx_proxy_proxy_socket_keepalive": "on",
    "real_ip_header": "X-Forwarded-For",
    "real_ip_recursive": "on",
    "request_debug": "off",
    "status_access_log": "off",
    "stream_listen": "off",
    "untrusted_lua": "sandbox",
    "upstream_keepalive_pool_size": "0",
}
WITHOUT_EFFECT = frozenset([
    "admin_error_log", "dns_order", "dns_valid_ttl", "headers", "lmdb_map_size", "mem_cache_size",
    "nginx_http_client_body_buffer_size", "nginx_proxy_proxy_next_upstream_timeout", "nginx_worker_processes",
    "proxy_error_log", "res_options", "status_error_log",
    # Read where Redis is asked.
    "lua_ssl_trusted_certificate",
])  # fmt: skip
READ = frozenset([
    "admin_listen", "declarative_config", "log_level", "nginx_http_log_format", "plugins", "prefix",
    "proxy_access_log", "proxy_listen", "status_listen", "trusted_ips", "untrusted_lua_sandbox_requires",
])  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What this stand-in reads of Kong's settings."""

    declarative_config: Path
    prefix: Path
    proxy: tuple[str, int]
    status: tuple[str, int]
    admin: tuple[str, int]
    plugins: frozenset[str]
    trusted_ips: tuple[IPv4Network | IPv6Network, ...]
    log_level: str
    access_log: str
    sandbox_requires: frozenset[str]


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raises ValueError for what this stand-in cannot do or read."""
    values = {name[5:].lower(): value for name, value in environment.items() if name.startswith("KONG_")}
    if unknown := values.keys() - FIXED.keys() - READ - WITHOUT_EFFECT:
        raise ValueError(f"{', '.join(sorted(unknown))}: no setting of Kong that this stand-in has heard of")
    for name, wanted in FIXED.items():
        if values.get(name) != wanted:
            raise ValueError(f"{name}: this stand-in only does KONG_{name.upper()}={wanted}")
    if missing := READ - values.keys():
        raise ValueError(f"{', '.join(sorted(missing))}: this stand-in has no default")
    return Settings(
        declarative_config=Path(values["declarative_config"]),
        prefix=Path(values["prefix"]),
        proxy=listen_of(values["proxy_listen"]),
        status=listen_of(values["status_listen"]),
        admin=listen_of(values["admin_listen"]),
        plugins=words(values["plugins"]),
        trusted_ips=tuple(ip_network(network) for network in sorted(words(values["trusted_ips"]))),
        log_level=values["log_level"],
        access_log=log_pattern(values["proxy_access_log"], values["nginx_http_log_format"]),
        sandbox_requires=words(values["untrusted_lua_sandbox_requires"]),
    )


def listen_of(text: str) -> tuple[str, int]:
    """Return host and port of a listen option. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def words(text: str) -> frozenset[str]:
    """Return the members of a comma separated list."""
    return frozenset(part.strip() for part in text.split(",") if part.strip())
