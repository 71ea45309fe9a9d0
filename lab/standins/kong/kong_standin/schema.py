"""Kong 3.9's entities and plugins as tables: fields, types, ranges, defaults. Only what the stand-in does."""

from __future__ import annotations

import re
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

from .fields import Field

MAX_TIMEOUT_MS = 2147483646
MAX_SECONDS = 65535
MAX_WEIGHT = 65535

STRING = Field("string")
TAGS = Field("set", elements=STRING)
STRINGS = Field("array", elements=STRING)


def path_problem(path: str) -> str | None:
    """Return what is wrong with a route's path."""
    if path.startswith("~"):
        if not path.startswith("~/"):
            return "should start with: ~/"
        try:
            re.compile(path[1:])
        except re.error as problem:
            return f"invalid regex: '{path[1:]}' ({problem})"
        return None
    return plain_path_problem(path)


def plain_path_problem(path: str) -> str | None:
    """Return what is wrong with a path that is no regex."""
    if not path.startswith("/"):
        return "should start with: /"
    return "must not have empty segments" if "//" in path else None


def host_problem(host: str) -> str | None:
    """Return what is wrong with a host: it has no port and no scheme."""
    return f"invalid value: {host}" if re.search(r"[:/\s]", host) and not is_ip(host) else None


def name_problem(name: str) -> str | None:
    """Return what is wrong with the name of a service or route."""
    if re.fullmatch(r"[\w.\-~]+", name):
        return None
    return f"invalid value '{name}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"


def upstream_name_problem(name: str) -> str | None:
    """Return what is wrong with an upstream's name: it is used as a host."""
    if is_ip(name):
        return "Invalid name ('" + name + "'); no ip addresses allowed"
    return None if re.fullmatch(r"[A-Za-z0-9._\-]+", name) else f"Invalid name ('{name}'); must be a hostname"


def target_problem(target: str) -> str | None:
    """Return what is wrong with a target."""
    host, _, port = target.rpartition(":") if ":" in target else (target, "", "8000")
    if not host or not port.isdigit() or not 0 < int(port) <= MAX_SECONDS or host_problem(host):
        return f"Invalid target ('{target}'); not a valid hostname or ip address"
    return None


def is_ip(text: str) -> bool:
    """Return whether the text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def upper_problem(method: str) -> str | None:
    """Return what is wrong with an HTTP method."""
    return None if re.fullmatch(r"[A-Z]+", method) else f"invalid value: {method}"


TIMEOUT_MS = Field("integer", default=60000, between=(1, MAX_TIMEOUT_MS))
SECONDS = Field("number", default=0, between=(0, MAX_SECONDS))
COUNTER = Field("integer", default=0, between=(0, 255))
STATUS = Field("integer", between=(100, 999))
CHECK_TYPE = Field("string", default="http", one_of=("tcp", "http", "https", "grpc", "grpcs"))
PROTOCOLS = Field("set", default=["http", "https"], elements=Field("string", one_of=("http", "https")))


def statuses(*codes: int) -> Field:
    """Return a list of statuses with this default."""
    return Field("array", default=list(codes), elements=STATUS)


ACTIVE = {
    "type": CHECK_TYPE,
    "timeout": Field("number", default=1, between=(0, MAX_SECONDS)),
    "concurrency": Field("integer", default=10, between=(1, 2**31)),
    "http_path": Field("string", default="/", check=plain_path_problem),
    "https_sni": STRING,
    "https_verify_certificate": Field("boolean", default=True),
    "headers": Field("map", elements=STRINGS),
    "healthy": Field(
        "record",
        default={},
        fields={"interval": SECONDS, "successes": COUNTER, "http_statuses": statuses(200, 302)},
    ),
    "unhealthy": Field(
        "record",
        default={},
        fields={
            "interval": SECONDS,
            "tcp_failures": COUNTER,
            "timeouts": COUNTER,
            "http_failures": COUNTER,
            "http_statuses": statuses(429, 404, 500, 501, 502, 503, 504, 505),
        },
    ),
}
PASSIVE = {
    "type": CHECK_TYPE,
    "healthy": Field(
        "record",
        default={},
        fields={
            "successes": COUNTER,
            "http_statuses": statuses(*range(200, 209), 226, *range(300, 309)),
        },
    ),
    "unhealthy": Field(
        "record",
        default={},
        fields={
            "tcp_failures": COUNTER,
            "timeouts": COUNTER,
            "http_failures": COUNTER,
            "http_statuses": statuses(429, 500, 503),
        },
    ),
}
HEALTHCHECKS = {
    "threshold": Field("number", default=0, between=(0, 100)),
    "active": Field("record", default={}, fields=ACTIVE),
    "passive": Field("record", default={}, fields=PASSIVE),
}

PLUGIN = {
    "name": Field("string", required=True),
    "instance_name": STRING,
    "enabled": Field("boolean", default=True),
    "protocols": PROTOCOLS,
    "config": Field("record", default={}),
    "tags": TAGS,
    "service": STRING,
    "route": STRING,
    "consumer": STRING,
}
NESTED_PLUGINS = Field("array", default=[], elements=Field("record", fields=PLUGIN))
ROUTE = {
    "name": Field("string", check=name_problem),
    "protocols": PROTOCOLS,
    "paths": Field("array", elements=Field("string", check=path_problem)),
    "hosts": STRINGS,
    "methods": Field("set", elements=Field("string", check=upper_problem)),
    "headers": Field("map", elements=STRINGS),
    "strip_path": Field("boolean", default=True),
    "preserve_host": Field("boolean", default=False),
    "path_handling": Field("string", default="v0", one_of=("v0", "v1")),
    "request_buffering": Field("boolean", default=True),
    "response_buffering": Field("boolean", default=True),
    "regex_priority": Field("integer", default=0),
    "https_redirect_status_code": Field("integer", default=426, one_of=(426, 301, 302, 307, 308)),
    "tags": TAGS,
    "service": STRING,
    "plugins": NESTED_PLUGINS,
}
SERVICE = {
    "name": Field("string", check=name_problem),
    # Kong knows more protocols; nothing in this project speaks them.
    "protocol": Field("string", default="http", one_of=("http",)),
    "host": Field("string", required=True, check=host_problem),
    "port": Field("integer", default=80, between=(0, MAX_SECONDS)),
    "path": Field("string", check=plain_path_problem),
    "url": STRING,
    "retries": Field("integer", default=5, between=(0, 32767)),
    "connect_timeout": TIMEOUT_MS,
    "write_timeout": TIMEOUT_MS,
    "read_timeout": TIMEOUT_MS,
    "enabled": Field("boolean", default=True),
    "tags": TAGS,
    "routes": Field("array", default=[], elements=Field("record", fields=ROUTE)),
    "plugins": NESTED_PLUGINS,
}
TARGET = {
    "target": Field("string", required=True, check=target_problem),
    "weight": Field("integer", default=100, between=(0, MAX_WEIGHT)),
    "tags": TAGS,
    "upstream": STRING,
}
UPSTREAM = {
    "name": Field("string", required=True, check=upstream_name_problem),
    # The other algorithms exist in Kong; this project uses the wheel.
    "algorithm": Field("string", default="round-robin", one_of=("round-robin",)),
    "slots": Field("integer", default=10000, between=(10, 65536)),
    "hash_on": Field("string", default="none", one_of=("none",)),
    "hash_fallback": Field("string", default="none", one_of=("none",)),
    "host_header": STRING,
    "use_srv_name": Field("boolean", default=False),
    "healthchecks": Field("record", default={}, fields=HEALTHCHECKS),
    "tags": TAGS,
    "targets": Field("array", default=[], elements=Field("record", fields=TARGET)),
}
CREDENTIAL = {"key": Field("string", required=True), "tags": TAGS, "consumer": STRING}
CONSUMER = {
    "username": STRING,
    "custom_id": STRING,
    "tags": TAGS,
    "keyauth_credentials": Field("array", default=[], elements=Field("record", fields=CREDENTIAL)),
    "plugins": NESTED_PLUGINS,
}


def records(fields: dict[str, Field]) -> Field:
    """Return a list of such records."""
    return Field("array", default=[], elements=Field("record", fields=fields))


TOP = {
    "_format_version": Field("string", required=True, one_of=("1.1", "2.1", "3.0")),
    "_transform": Field("boolean", default=True),
    "services": records(SERVICE),
    "routes": records(ROUTE),
    "upstreams": records(UPSTREAM),
    "targets": records(TARGET),
    "consumers": records(CONSUMER),
    "plugins": records(PLUGIN),
    "keyauth_credentials": records(CREDENTIAL),
}

POSITIVE = Field("number", between=(0.000001, 2**53))
REDIS = {
    "host": STRING,
    "port": Field("integer", default=6379, between=(0, MAX_SECONDS)),
    "timeout": Field("integer", default=2000, between=(0, MAX_TIMEOUT_MS)),
    "username": STRING,
    "password": STRING,
    "database": Field("integer", default=0),
    "ssl": Field("boolean", default=False, one_of=(False,)),
    "ssl_verify": Field("boolean", default=False),
    "server_name": STRING,
}
PERIODS = ("second", "minute", "hour", "day", "month", "year")
LUA_PHASES = ("certificate", "rewrite", "access", "header_filter", "body_filter", "log")
FUNCTIONS: dict[str, Field] = {phase: Field("array", default=[], elements=STRING) for phase in LUA_PHASES}
CHANGES: dict[str, Field] = {
    part: Field("array", default=[], elements=STRING) for part in ("headers", "querystring", "body")
}

PLUGINS: dict[str, dict[str, Field]] = {
    "correlation-id": {
        "header_name": Field("string", default="Kong-Request-ID"),
        "generator": Field("string", default="uuid#counter", one_of=("uuid", "uuid#counter", "tracker")),
        "echo_downstream": Field("boolean", default=False),
    },
    "http-log": {
        "http_endpoint": Field("string", required=True),
        "method": Field("string", default="POST", one_of=("POST", "PUT", "PATCH")),
        "content_type": Field("string", default="application/json"),
        "timeout": Field("number", default=10000),
        "keepalive": Field("number", default=60000),
        "headers": Field("map", elements=STRING),
        "queue": Field(
            "record",
            default={},
            fields={
                "max_batch_size": Field("integer", default=1, between=(1, 1000000)),
                "max_coalescing_delay": Field("number", default=1, between=(0, 3600)),
                "max_entries": Field("integer", default=10000, between=(1, 1000000)),
                "max_bytes": Field("integer"),
                "max_retry_time": Field("number", default=60),
                "initial_retry_delay": Field("number", default=0.01, between=(0.001, 1000000)),
                "max_retry_delay": Field("number", default=60, between=(0.001, 1000000)),
                "concurrency_limit": Field("integer", default=1, one_of=(-1, 1)),
            },
        ),
    },
    "key-auth": {
        "key_names": Field("array", default=["apikey"], elements=STRING),
        "hide_credentials": Field("boolean", default=False),
        "anonymous": STRING,
        "key_in_header": Field("boolean", default=True),
        "key_in_query": Field("boolean", default=True),
        "key_in_body": Field("boolean", default=False, one_of=(False,)),
        "run_on_preflight": Field("boolean", default=True),
        "realm": STRING,
    },
    "post-function": FUNCTIONS,
    "pre-function": FUNCTIONS,
    "prometheus": {
        name: Field("boolean", default=False)
        for name in (
            "per_consumer",
            "status_code_metrics",
            "ai_metrics",
            "latency_metrics",
            "bandwidth_metrics",
            "upstream_health_metrics",
            "wasm_metrics",
        )
    },
    "rate-limiting": {
        **dict.fromkeys(PERIODS, POSITIVE),
        "limit_by": Field(
            "string",
            default="consumer",
            one_of=("consumer", "credential", "ip", "service", "header", "path"),
        ),
        "header_name": STRING,
        "path": Field("string", check=plain_path_problem),
        # Without a database there is no policy "cluster".
        "policy": Field("string", default="local", one_of=("local", "redis")),
        "fault_tolerant": Field("boolean", default=True),
        "redis": Field("record", default={}, fields=REDIS),
        "hide_client_headers": Field("boolean", default=False),
        "error_code": Field("number", default=429),
        "error_message": Field("string", default="API rate limit exceeded"),
        "sync_rate": Field("number", default=-1, one_of=(-1,)),
    },
    "request-size-limiting": {
        "allowed_payload_size": Field("integer", default=128),
        "size_unit": Field("string", default="megabytes", one_of=("megabytes", "kilobytes", "bytes")),
        "require_content_length": Field("boolean", default=False),
    },
    "request-transformer": {
        "http_method": Field("string", check=upper_problem),
        "remove": Field("record", default={}, fields=CHANGES),
        "rename": Field("record", default={}, fields=CHANGES),
        "replace": Field("record", default={}, fields={**CHANGES, "uri": STRING}),
        "add": Field("record", default={}, fields=CHANGES),
        "append": Field("record", default={}, fields=CHANGES),
    },
}


def rate_limit_problem(config: dict[str, Any]) -> str | None:
    """Return what is wrong between the fields of rate-limiting."""
    limits = [config[period] for period in PERIODS if config.get(period) is not None]
    if not limits:
        return f"at least one of these fields must be non-empty: {', '.join(PERIODS)}"
    if any(longer < shorter for shorter, longer in pairwise(limits)):
        return "the limit for a longer period cannot be lower than the limit for a shorter one"
    if config.get("policy") == "redis" and not (config.get("redis") or {}).get("host"):
        return "redis.host: required field missing"
    if config.get("limit_by") in ("header", "path"):
        needed = {"header": "header_name", "path": "path"}[config["limit_by"]]
        return None if config.get(needed) else f"{needed}: required field missing"
    return None
