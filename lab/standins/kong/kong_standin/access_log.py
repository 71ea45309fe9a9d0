"""The access log, in the format nginx would be told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from .exchange import Exchange

STANDARD = (
    '$remote_addr - - [$time_iso8601] "$request" $status $bytes_sent kong_request_id: "$kong_request_id"'
)


def log_pattern(access_log: str, log_format: str) -> tuple[Path | None, str, bool]:
    """Return where to write (None: nowhere), the pattern, and whether values are escaped as JSON.

    `access_log` is a path and perhaps a format's name; `log_format` is `name [escape=json] 'text' 'text'`.
    """
    path, _, wanted = access_log.partition(" ")
    if path == "off":
        return None, "", False
    name, _, text = log_format.partition(" ")
    if not wanted or name != wanted.strip():
        return Path(path), STANDARD, False
    pattern = "".join(re.findall(r"'([^']*)'", text))
    return Path(path), pattern, "escape=json" in text.partition("'")[0]


VARIABLES: dict[str, Callable[[Exchange], str]] = {
    "remote_addr": lambda e: e.client_ip,
    "time_iso8601": lambda _: datetime.now().astimezone().isoformat(timespec="seconds"),
    "request": lambda e: f"{e.method} {e.path} HTTP/{e.version}",
    "request_method": lambda e: e.method,
    "request_time": lambda e: f"{time.monotonic() - e.started:.3f}",
    "uri": lambda e: e.path,
    "status": lambda e: str(e.status),
    "bytes_sent": lambda e: str(e.bytes_sent),
    "body_bytes_sent": lambda e: str(e.bytes_sent),
    "kong_request_id": lambda e: e.id,
    "upstream_addr": lambda e: e.upstream_addr,
    "upstream_status": lambda e: ", ".join(str(t.status or t.code or "-") for t in e.tries),
    "upstream_connect_time": lambda e: ", ".join(f"{t.connect_seconds:.3f}" for t in e.tries),
    "upstream_header_time": lambda e: ", ".join(f"{t.header_seconds:.3f}" for t in e.tries),
    "upstream_response_time": lambda e: ", ".join(f"{t.seconds:.3f}" for t in e.tries),
}


def log_line(pattern: str, exchange: Exchange, *, as_json: bool) -> str:
    """Return a line; unknown variables are empty, as headers that are not there."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in VARIABLES:
            text = VARIABLES[name](exchange)
        elif name.startswith("http_"):
            text = exchange.out_headers.get(name[5:].replace("_", "-"), "")
        else:
            text = ""
        return json.dumps(text)[1:-1] if as_json else text or "-"

    return re.sub(r"\$(\w+)", value, pattern)
