"""The access log, in the format nginx would be told."""

import json
import re
import time
from collections.abc import Callable
from datetime import datetime

from .exchange import Exchange, Try


def tried(value: Callable[[Try], object]) -> Callable[[Exchange], str]:
    """Return a variable that lists something of every try."""
    return lambda exchange: ", ".join(str(value(one)) for one in exchange.tries)


VARIABLES: dict[str, Callable[[Exchange], str]] = {
    "http_x_request_id": lambda e: e.out_headers.get("X-Request-ID", ""),
    "request_method": lambda e: e.method,
    "request_time": lambda e: f"{time.monotonic() - e.started:.3f}",
    "status": lambda e: str(e.status),
    "time_iso8601": lambda _: datetime.now().astimezone().isoformat(timespec="seconds"),
    "upstream_addr": lambda e: e.upstream_addr,
    "upstream_connect_time": tried(lambda t: f"{t.connect_seconds:.3f}"),
    "upstream_header_time": tried(lambda t: f"{t.header_seconds:.3f}"),
    "upstream_response_time": tried(lambda t: f"{t.seconds:.3f}"),
    "upstream_status": tried(lambda t: t.status or t.code or "-"),
    "uri": lambda e: e.path,
}


def log_pattern(access_log: str, log_format: str) -> str:
    """Return the pattern of a line. `log_format` is `name escape=json 'text'`. Raises ValueError."""
    found = re.fullmatch(r"(\w+) escape=json '([^']*)'", log_format)
    if not found or access_log != f"/dev/stdout {found[1]}":
        raise ValueError(
            "this stand-in only logs JSON to /dev/stdout, in the format of KONG_NGINX_HTTP_LOG_FORMAT"
        )
    if unknown := set(re.findall(r"\$(\w+)", found[2])) - VARIABLES.keys():
        raise ValueError(
            f"nginx_http_log_format: ${', $'.join(sorted(unknown))} not in this stand-in for Kong"
        )
    return found[2]


def log_line(pattern: str, exchange: Exchange) -> str:
    """Return a line."""
    return re.sub(r"\$(\w+)", lambda found: json.dumps(VARIABLES[found[1]](exchange))[1:-1], pattern)
