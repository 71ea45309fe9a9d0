"""Kong 3.9's entities and plugins as tables of the fields this project sets, with ranges and defaults."""

import re

from .fields import Default, Field, between, matching, text

MAX_TIMEOUT_MS = 2147483646
MAX_PORT = MAX_SECONDS = MAX_WEIGHT = 65535


def path_problem(path: str) -> str | None:
    """Return what is wrong with a route's path; behind `~` it is a regex."""
    if not path.startswith("~"):
        return PATH(path)
    try:
        re.compile(path[1:])
    except re.error as problem:
        return f"invalid regex: '{path[1:]}' ({problem})"
    return PATH(path[1:])


def always(value: object) -> Default:
    """Return a field that only has Kong's default here."""
    return Default(value, value)


# An upstream's name, the narrowest of all, is used as a host.
NAME = matching(r"[\w.\-]+", "a hostname")
PATH = matching(r"/(?!/)(.(?!//))*", "a path without empty segments")
ADDRESS = matching(r"(\d+\.){3}\d+:\d{1,5}", "ADDRESS:PORT in this stand-in; real Kong resolves names")
METHOD = matching(r"[A-Z]+", "an HTTP method")
# Without a database there is no policy `cluster`.
POLICY = matching(r"local|redis", "local or redis")
TAGS = Default([], [str])
TIMEOUT_MS = Default(60000, between(1, MAX_TIMEOUT_MS))
SECONDS = Default(0, between(0, MAX_SECONDS, whole=False))
COUNTER = Default(0, between(0, 255))
STATUSES = [between(100, 999)]
HEALTHCHECKS = {
    # A percentage of weight.
    "threshold": always(0),
    "active": Default({}, {
        "type": always("http"),
        "timeout": Default(1, between(0, MAX_SECONDS, whole=False)),
        "concurrency": always(10),
        "http_path": Default("/", PATH),
        "healthy": Default({}, {
            "interval": SECONDS, "successes": COUNTER, "http_statuses": Default([200, 302], STATUSES),
        }),
        "unhealthy": Default({}, {
            "interval": SECONDS, "tcp_failures": COUNTER, "timeouts": COUNTER, "http_failures": COUNTER,
            "http_statuses": Default([429, 404, 500, 501, 502, 503, 504, 505], STATUSES),
        }),
    }),
    "passive": Default({}, {
        "type": always("http"),
        "healthy": Default({}, {"successes": always(0)}),
        "unhealthy": Default({}, {"tcp_failures": COUNTER, "timeouts": COUNTER, "http_failures": always(0)}),
    }),
}  # fmt: skip
PLUGIN = {"name": str, "instance_name": Default(None, str), "config": Default({}, dict)}
ROUTE = {
    "name": NAME,
    # Kong's default also has https.
    "protocols": Default(["http"], ["http"]),
    "paths": [text(path_problem)],
    "methods": [METHOD],
    "strip_path": Default(True, bool),
    "request_buffering": always(True),
    "response_buffering": False,
    "plugins": Default([], [PLUGIN]),
}
SERVICE = {
    "name": NAME,
    "protocol": always("http"),
    "host": str,
    "path": PATH,
    "retries": Default(5, between(0, 32767)),
    "connect_timeout": TIMEOUT_MS,
    "write_timeout": TIMEOUT_MS,
    "read_timeout": TIMEOUT_MS,
    "routes": Default([], [ROUTE]),
}
TARGET = {
    "target": ADDRESS,
    "weight": Default(100, between(0, MAX_WEIGHT)),
    "tags": TAGS,
}
UPSTREAM = {
    "name": NAME,
    "algorithm": always("round-robin"),
    "healthchecks": Default({}, HEALTHCHECKS),
    "targets": Default([], [TARGET]),
}
CONSUMER = {"username": str, "keyauth_credentials": Default([], [{"key": str, "tags": TAGS}])}
TOP = {
    "_format_version": "3.0",
    "_transform": always(True),
    "services": Default([], [SERVICE]),
    "upstreams": Default([], [UPSTREAM]),
    "consumers": Default([], [CONSUMER]),
    "plugins": Default([], [PLUGIN]),
}

LUA = Default([], [str])
REDIS = {
    "host": str,
    "port": Default(6379, between(0, MAX_PORT)),
    "timeout": Default(2000, between(0, MAX_TIMEOUT_MS)),
    "password": Default(None, str),
}
# In the order they run in.
PLUGINS: dict[str, dict[str, Field]] = {
    "pre-function": {"access": LUA, "header_filter": LUA, "log": LUA},
    "correlation-id": {
        "header_name": Default("Kong-Request-ID", str), "generator": "uuid", "echo_downstream": True,
    },
    "key-auth": {
        "key_names": Default(["apikey"], [str]), "key_in_header": always(True), "key_in_query": False,
        "key_in_body": always(False), "hide_credentials": True,
    },
    "request-size-limiting": {
        "allowed_payload_size": Default(128, between(0, 2**53)), "size_unit": always("megabytes"),
    },
    "rate-limiting": {
        "minute": between(0.000001, 2**53, whole=False),
        "limit_by": always("consumer"),
        "policy": Default("local", POLICY),
        "fault_tolerant": always(True),
        "redis": Default(None, REDIS),
    },
    "prometheus": dict.fromkeys((
        "per_consumer", "status_code_metrics", "latency_metrics", "bandwidth_metrics",
        "upstream_health_metrics",
    ), True),
    "http-log": {
        "http_endpoint": str,
        "timeout": Default(10000, between(0, MAX_TIMEOUT_MS, whole=False)),
        "headers": Default({}, dict),
        # One record in a batch, which is Kong's default.
        "queue": Default({}, {
            "max_entries": Default(10000, between(1, 1000000)),
            "max_retry_time": Default(60, between(0, MAX_SECONDS, whole=False)),
        }),
    },
    "post-function": {"access": LUA, "header_filter": LUA},
}  # fmt: skip
FUNCTION_PLUGINS = ("pre-function", "post-function")
