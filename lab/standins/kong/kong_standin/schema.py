"""Kong 3.9's entities and plugins as tables: types, ranges, defaults of the fields this project sets."""

from __future__ import annotations

import re

from .fields import Field

MAX_TIMEOUT_MS = 2147483646
MAX_PORT = MAX_SECONDS = MAX_WEIGHT = 65535


def path_problem(path: str) -> str | None:
    """Return what is wrong with a route's path; behind `~` it is a regex."""
    if not path.startswith("~"):
        return plain_path_problem(path)
    if not path.startswith("~/"):
        return "should start with: ~/"
    try:
        re.compile(path[1:])
    except re.error as problem:
        return f"invalid regex: '{path[1:]}' ({problem})"
    return None


def plain_path_problem(path: str) -> str | None:
    """Return what is wrong with a path that is no regex."""
    if not path.startswith("/"):
        return "should start with: /"
    return "must not have empty segments" if "//" in path else None


def name_problem(name: str) -> str | None:
    """Return what is wrong with a name: an upstream's, the narrowest of all, is used as a host."""
    return None if re.fullmatch(r"[A-Za-z0-9._\-]+", name) else f"Invalid name ('{name}'); must be a hostname"


def target_problem(target: str) -> str | None:
    """Return what is wrong with a target."""
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+:\d{1,5}", target):
        return None
    return f"Invalid target ('{target}'); this stand-in takes ADDRESS:PORT, real Kong resolves names"


def method_problem(method: str) -> str | None:
    """Return what is wrong with an HTTP method."""
    return None if re.fullmatch(r"[A-Z]+", method) else f"invalid value: {method}"


def integer(low: int, high: int, default: int | None = None, only: tuple[int, ...] = ()) -> Field:
    """Return a whole number within limits."""
    return Field("integer", default=default, between=(low, high), only=only)


def always(value: object, kong_default: object = None, one_of: tuple[str, ...] = ()) -> Field:
    """Return a field that only has this value here; `kong_default` is what Kong takes without it."""
    kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "string"
    default = value if kong_default is None else kong_default
    return Field(kind, default=default, one_of=one_of, only=(value,))


def record(fields: dict[str, Field]) -> Field:
    """Return a record; without it its fields' defaults hold."""
    return Field("record", default={}, fields=fields)


def records(fields: dict[str, Field]) -> Field:
    """Return a list of such records."""
    return Field("array", default=[], elements=Field("record", fields=fields))


STRING = Field("string")
PROTOCOLS = ("http", "https", "tcp", "tls", "udp", "tls_passthrough", "grpc", "grpcs")
NAME = Field("string", required=True, check=name_problem)
TAGS = Field("set", default=[], elements=STRING)
TIMEOUT_MS = integer(1, MAX_TIMEOUT_MS, 60000)
SECONDS = Field("number", default=0, between=(0, MAX_SECONDS))
COUNTER = integer(0, 255, 0)
CHECK_TYPE = always("http")


def statuses(*codes: int) -> Field:
    """Return a list of statuses with this default."""
    return Field("array", default=list(codes), elements=integer(100, 999))


HEALTHCHECKS = {
    # A percentage of weight.
    "threshold": Field("number", default=0, between=(0, 100), only=(0,)),
    "active": record({
        "type": CHECK_TYPE,
        "timeout": Field("number", default=1, between=(0, MAX_SECONDS)),
        "concurrency": always(10),
        "http_path": Field("string", default="/", check=plain_path_problem),
        "healthy": record(
            {"interval": SECONDS, "successes": COUNTER, "http_statuses": statuses(200, 302)}
        ),
        "unhealthy": record({
            "interval": SECONDS, "tcp_failures": COUNTER, "timeouts": COUNTER, "http_failures": COUNTER,
            "http_statuses": statuses(429, 404, 500, 501, 502, 503, 504, 505),
        }),
    }),
    "passive": record({
        "type": CHECK_TYPE,
        "healthy": record({"successes": integer(0, 255, 0, only=(0,))}),
        "unhealthy": record({
            "tcp_failures": COUNTER, "timeouts": COUNTER,
            "http_failures": integer(0, 255, 0, only=(0,)),
        }),
    }),
}  # fmt: skip
PLUGIN = {
    "name": Field("string", required=True),
    "instance_name": STRING,
    "config": Field("record", default={}),
}
ROUTE = {
    "name": NAME,
    # Kong's default also has https.
    "protocols": Field("set", default=["http"], elements=Field("string", one_of=PROTOCOLS, only=("http",))),
    "paths": Field("array", required=True, elements=Field("string", check=path_problem)),
    "methods": Field("set", required=True, elements=Field("string", check=method_problem)),
    "strip_path": Field("boolean", default=True),
    "request_buffering": always(True),
    "response_buffering": always(False, kong_default=True),
    "plugins": records(PLUGIN),
}  # fmt: skip
SERVICE = {
    "name": NAME,
    "protocol": always("http"),
    "host": Field("string", required=True),
    "path": Field("string", required=True, check=plain_path_problem),
    "retries": integer(0, 32767, 5),
    "connect_timeout": TIMEOUT_MS,
    "write_timeout": TIMEOUT_MS,
    "read_timeout": TIMEOUT_MS,
    "routes": records(ROUTE),
}
TARGET = {
    "target": Field("string", required=True, check=target_problem),
    "weight": integer(0, MAX_WEIGHT, 100),
    "tags": TAGS,
}
UPSTREAM = {
    "name": NAME,
    "algorithm": always(
        "round-robin", one_of=("consistent-hashing", "least-connections", "round-robin", "latency")
    ),
    "healthchecks": record(HEALTHCHECKS),
    "targets": records(TARGET),
}
CONSUMER = {
    "username": Field("string", required=True),
    "keyauth_credentials": records({"key": Field("string", required=True), "tags": TAGS}),
}
TOP = {
    "_format_version": Field("string", required=True, one_of=("1.1", "2.1", "3.0")),
    "_transform": always(True),
    "services": records(SERVICE),
    "upstreams": records(UPSTREAM),
    "consumers": records(CONSUMER),
    "plugins": records(PLUGIN),
}

LUA = Field("array", default=[], elements=STRING)
REDIS = {
    "host": Field("string", required=True),
    "port": integer(0, MAX_PORT, 6379),
    "timeout": integer(0, MAX_TIMEOUT_MS, 2000),
    "password": STRING,
}
# In the order they run in.
PLUGINS: dict[str, dict[str, Field]] = {
    "pre-function": {"access": LUA, "header_filter": LUA, "log": LUA},
    "correlation-id": {
        "header_name": Field("string", default="Kong-Request-ID"),
        "generator": always("uuid", kong_default="uuid#counter"),
        "echo_downstream": always(True, kong_default=False),
    },
    "key-auth": {
        "key_names": Field("array", default=["apikey"], elements=STRING),
        "key_in_header": always(True),
        "key_in_query": always(False, kong_default=True),
        "key_in_body": always(False),
        "hide_credentials": always(True, kong_default=False),
    },
    "request-size-limiting": {
        "allowed_payload_size": Field("integer", default=128),
        "size_unit": always("megabytes"),
    },
    "rate-limiting": {
        "minute": Field("number", required=True, between=(0.000001, 2**53)),
        "limit_by": always("consumer"),
        # Without a database there is no policy "cluster".
        "policy": Field("string", default="local", one_of=("local", "redis")),
        "fault_tolerant": always(True),
        "redis": Field("record", fields=REDIS),
    },
    "prometheus": {
        name: always(True, kong_default=False)
        for name in ("per_consumer", "status_code_metrics", "latency_metrics", "bandwidth_metrics",
                     "upstream_health_metrics")
    },
    "http-log": {
        "http_endpoint": Field("string", required=True),
        "timeout": Field("number", default=10000),
        "headers": Field("map", default={}, elements=STRING),
        # One record in a batch, which is Kong's default.
        "queue": record({
            "max_entries": integer(1, 1000000, 10000),
            "max_retry_time": Field("number", default=60),
        }),
    },
    "post-function": {"access": LUA, "header_filter": LUA},
}  # fmt: skip
FUNCTION_PLUGINS = ("pre-function", "post-function")
