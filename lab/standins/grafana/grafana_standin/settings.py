"""Settings from `GF_<SECTION>_<KEY>` variables, under Grafana's names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PREFIX, FROM_FILE = "GF_", re.compile(r"\$__file\{([^}]+)\}")
WITHOUT_EFFECT = frozenset([
    "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_FEEDBACK_LINKS_ENABLED",
    "ANALYTICS_REPORTING_ENABLED", "AUTH_ANONYMOUS_HIDE_VERSION", "AUTH_ANONYMOUS_ORG_ROLE",
    "AUTH_DISABLE_LOGIN_FORM",
    "DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "DASHBOARDS_MIN_REFRESH_INTERVAL", "LIVE_MAX_CONNECTIONS",
    "NEWS_NEWS_FEED_ENABLED", "PATHS_CONFIG", "PATHS_HOME", "PLUGINS_PLUGIN_ADMIN_ENABLED",
    "PLUGINS_PREINSTALL_DISABLED", "PUBLIC_DASHBOARDS_ENABLED", "SECURITY_DISABLE_GRAVATAR",
    "SERVER_ENABLE_GZIP", "SNAPSHOTS_EXTERNAL_ENABLED", "UNIFIED_ALERTING_EXECUTE_ALERTS",
    "USERS_ALLOW_SIGN_UP",
])  # fmt: skip
"""Grafana's settings that this stand-in accepts and does without. Grafana is silent about a misspelt one."""


@dataclass(frozen=True)
class Settings:
    """What this stand-in understands of Grafana's settings."""

    port: int
    sub_path: str
    """The path it answers below, without a `/` at its end: `/grafana`, or nothing."""
    data: Path
    provisioning: Path
    admin_password: str
    visitors: bool
    proxy_timeout_s: float


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Return the settings; `$__file{PATH}` in a value is the text of that file, as in Grafana.

    Raises ValueError for a name this stand-in does not know, OSError for a file that cannot be read.
    """
    values = {
        name.removeprefix(PREFIX): FROM_FILE.sub(lambda found: Path(found[1]).read_text().strip(), value)
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    below_a_path = values.pop("SERVER_SERVE_FROM_SUB_PATH", "false") == "true"
    root_path = urlsplit(values.pop("SERVER_ROOT_URL", "")).path.rstrip("/")
    settings = Settings(
        port=int(values.pop("SERVER_HTTP_PORT", "3000")),
        sub_path=root_path if below_a_path else "",
        data=Path(values.pop("PATHS_DATA", "/var/lib/grafana")),
        provisioning=Path(values.pop("PATHS_PROVISIONING", "/etc/grafana/provisioning")),
        admin_password=values.pop("SECURITY_ADMIN_PASSWORD", "admin"),
        visitors=values.pop("AUTH_ANONYMOUS_ENABLED", "false") == "true",
        proxy_timeout_s=float(values.pop("DATAPROXY_TIMEOUT", "30")),
    )
    if unknown := sorted(values.keys() - WITHOUT_EFFECT):
        raise ValueError(f"GF_{', GF_'.join(unknown)}: no setting of Grafana this stand-in has heard of")
    return settings
