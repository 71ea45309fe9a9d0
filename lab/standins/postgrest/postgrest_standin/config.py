"""PostgREST's configuration file: `name = value` lines, strings in quotes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# What version 16 knows; the real one ignores any other name, and with it a typing error.
KNOWN = frozenset(
    (
        "admin-server-host",
        "admin-server-port",
        "admin-server-unix-socket",
        "admin-server-unix-socket-mode",
        "client-error-verbosity",
        "db-aggregates-enabled",
        "db-anon-role",
        "db-channel",
        "db-channel-enabled",
        "db-config",
        "db-extra-search-path",
        "db-hoisted-tx-settings",
        "db-max-rows",
        "db-plan-enabled",
        "db-pool",
        "db-pool-acquisition-timeout",
        "db-pool-automatic-recovery",
        "db-pool-max-idletime",
        "db-pool-max-lifetime",
        "db-pre-config",
        "db-pre-request",
        "db-prepared-statements",
        "db-root-spec",
        "db-schemas",
        "db-tx-end",
        "db-uri",
        "jwt-aud",
        "jwt-cache-max-entries",
        "jwt-role-claim-key",
        "jwt-secret",
        "jwt-secret-is-base64",
        "log-level",
        "log-query",
        "openapi-mode",
        "openapi-security-active",
        "openapi-server-proxy-uri",
        "server-cors-allowed-origins",
        "server-host",
        "server-port",
        "server-reuseport",
        "server-timing-enabled",
        "server-trace-header",
        "server-unix-socket",
        "server-unix-socket-mode",
        "url-use-legacy-target-names",
    )
)
LOG_LEVELS = ("crit", "error", "warn", "info", "debug")
# Names PostgREST gives to "all addresses"; its own health check cannot ask them.
SPECIAL_HOSTS = ("*", "*4", "!4", "*6", "!6")


def settings(text: str) -> dict[str, str | int | bool]:
    """Return name -> value. Raises ValueError for a line that is none and for an unknown name."""
    found: dict[str, str | int | bool] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise ValueError(f"line {number} is no setting")
        if name not in KNOWN and not name.startswith("app.settings."):
            raise ValueError(f"line {number}: {name} is no setting of PostgREST")
        try:
            parsed = json.loads(value)
        except ValueError as problem:
            raise ValueError(f"line {number}: the value of {name} cannot be read") from problem
        if not isinstance(parsed, str | int | bool):
            raise ValueError(f"line {number}: the value of {name} cannot be read")
        found[name] = parsed
    return found


def number(found: Mapping[str, str | int | bool], name: str, default: int | None) -> int | None:
    """Return a number, written as one or as text. Raises ValueError if it is none."""
    value = found.get(name, default)
    return None if value is None or value == "" else int(value)


@dataclass(frozen=True)
class Config:
    """The settings this stand-in keeps."""

    uri: str = field(repr=False)
    schemas: tuple[str, ...] = ("public",)
    anonymous: str = ""
    channel: str = "pgrst"
    max_rows: int | None = None
    host: str = "!4"
    port: int = 3000
    admin_host: str = "!4"
    admin_port: int | None = None

    @classmethod
    def of(cls, text: str) -> Config:
        """Read a configuration file. Raises ValueError saying what is wrong."""
        found = settings(text)
        port = number(found, "server-port", 3000) or 3000
        admin_port = number(found, "admin-server-port", None)
        if admin_port == port:
            raise ValueError("admin-server-port cannot be the same as server-port")
        if found.get("log-level", "error") not in LOG_LEVELS:
            raise ValueError("Invalid logging level. Check your configuration.")
        schemas = tuple(part.strip() for part in str(found.get("db-schemas", "public")).split(","))
        for schema in ("pg_catalog", "information_schema"):
            if schema in schemas:
                raise ValueError(f"db-schemas does not allow schema: '{schema}'")
        host = str(found.get("server-host", "") or "!4")
        return cls(
            uri=str(found.get("db-uri", "") or "postgresql://"),
            schemas=schemas,
            anonymous=str(found.get("db-anon-role", "")),
            channel=str(found.get("db-channel", "pgrst")),
            max_rows=number(found, "db-max-rows", None),
            host=host,
            port=port,
            admin_host=str(found.get("admin-server-host", "") or host),
            admin_port=admin_port,
        )

    def ready_url(self) -> str:
        """Return what `--ready` asks. Raises ValueError where the real one cannot ask."""
        if self.admin_port is None:
            raise ValueError("Admin server is not running. Please check admin-server-port config.")
        if self.admin_host in SPECIAL_HOSTS:
            raise ValueError(
                f'The `--ready` flag cannot be used when server-host is configured as "{self.admin_host}". '
                'Please update your server-host config to "localhost".'
            )
        host = f"[{self.admin_host}]" if ":" in self.admin_host else self.admin_host
        return f"http://{host}:{self.admin_port}/ready"


def listening(host: str) -> str | None:
    """Return what a server is bound to; None is every address."""
    return {"*": None, "*4": "0.0.0.0", "!4": "0.0.0.0", "*6": "::", "!6": "::"}.get(host, host)
