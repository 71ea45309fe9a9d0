"""Settings from `GF_<SECTION>_<KEY>` variables, under Grafana's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PREFIX, FROM_FILE = "GF_", re.compile(r"\$__file\{([^}]+)\}")
TRUE, FALSE = ("1", "t", "true", "y", "yes", "on"), ("0", "f", "false", "n", "no", "off")
ROLES = ("Viewer", "Editor", "Admin")
WITHOUT_EFFECT = frozenset([
    "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_FEEDBACK_LINKS_ENABLED",
    "ANALYTICS_REPORTING_ENABLED", "DASHBOARDS_MIN_REFRESH_INTERVAL", "LIVE_MAX_CONNECTIONS", "LOG_LEVEL",
    "LOG_MODE", "NEWS_NEWS_FEED_ENABLED", "PATHS_CONFIG", "PATHS_HOME", "PATHS_LOGS", "PATHS_PLUGINS",
    "PLUGINS_PLUGIN_ADMIN_ENABLED", "PLUGINS_PREINSTALL_DISABLED", "PUBLIC_DASHBOARDS_ENABLED",
    "SECURITY_DISABLE_GRAVATAR", "SERVER_ENABLE_GZIP", "SNAPSHOTS_EXTERNAL_ENABLED",
    "UNIFIED_ALERTING_EXECUTE_ALERTS", "USERS_ALLOW_SIGN_UP",
])  # fmt: skip
"""Grafana's settings that this stand-in accepts and does without. Grafana is silent about a misspelt one."""


@dataclass(frozen=True)
class Settings:
    """What this stand-in understands of Grafana's settings."""

    address: str
    port: int
    root_url: str
    serve_from_sub_path: bool
    data: Path
    provisioning: Path
    home_dashboard: Path | None
    admin_user: str
    admin_password: str
    basic_auth: bool
    login_form: bool
    anonymous_role: str | None
    hide_version: bool
    proxy_timeout_s: float

    @property
    def sub_path(self) -> str:
        """The path it answers below, without a `/` at its end: `/grafana`, or nothing."""
        return urlsplit(self.root_url).path.rstrip("/") if self.serve_from_sub_path else ""


def values_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return option -> value; `$__file{PATH}` in any of them is the text of that file, as in Grafana.

    Raises OSError for a file that cannot be read.
    """
    return {
        name.removeprefix(PREFIX): FROM_FILE.sub(lambda found: Path(found[1]).read_text().strip(), value)
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }


def switch(name: str, text: str) -> bool:
    """Return a switch's value. Raises ValueError for what is none; Grafana would take its default."""
    if text.lower() not in (*TRUE, *FALSE):
        raise ValueError(f"{PREFIX}{name}: {text!r} is neither true nor false")
    return text.lower() in TRUE


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings. Raises ValueError for what this stand-in does not know or cannot read."""
    values = values_of(environment)

    def flag(name: str, default: bool) -> bool:
        return switch(name, values.pop(name)) if name in values else default

    port = int(values.pop("SERVER_HTTP_PORT", "3000"))
    anonymous = flag("AUTH_ANONYMOUS_ENABLED", default=False)
    role = values.pop("AUTH_ANONYMOUS_ORG_ROLE", "Viewer")
    if role not in ROLES:
        raise ValueError(f"GF_AUTH_ANONYMOUS_ORG_ROLE: {role!r} is none of {', '.join(ROLES)}")
    home = values.pop("DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "")
    settings = Settings(
        address=values.pop("SERVER_HTTP_ADDR", "") or "0.0.0.0",
        port=port,
        root_url=values.pop("SERVER_ROOT_URL", f"http://localhost:{port}/"),
        serve_from_sub_path=flag("SERVER_SERVE_FROM_SUB_PATH", default=False),
        data=Path(values.pop("PATHS_DATA", "/var/lib/grafana")),
        provisioning=Path(values.pop("PATHS_PROVISIONING", "/etc/grafana/provisioning")),
        home_dashboard=Path(home) if home else None,
        admin_user=values.pop("SECURITY_ADMIN_USER", "admin"),
        admin_password=values.pop("SECURITY_ADMIN_PASSWORD", "admin"),
        basic_auth=flag("AUTH_BASIC_ENABLED", default=True),
        login_form=not flag("AUTH_DISABLE_LOGIN_FORM", default=False),
        anonymous_role=role if anonymous else None,
        hide_version=flag("AUTH_ANONYMOUS_HIDE_VERSION", default=False),
        proxy_timeout_s=float(values.pop("DATAPROXY_TIMEOUT", "30")),
    )
    if unknown := sorted(values.keys() - WITHOUT_EFFECT):
        raise ValueError(f"GF_{', GF_'.join(unknown)}: no setting of Grafana this stand-in has heard of")
    return settings
