"""Kong 3.9's entities and plugins as tables of the fields this project sets."""

from .fields import Field

PLUGIN = {"name": str, "instance_name": str, "config": dict}
ROUTE = {
    "name": str,
    "protocols": [("http",)],
    # A path that begins with `~` is a regex.
    "paths": [str],
    "methods": [str],
    "strip_path": bool,
    "request_buffering": (True,),
    "response_buffering": (False,),
    "plugins": [PLUGIN],
}
SERVICE = {
    "name": str,
    "protocol": ("http",),
    "host": str,
    "path": str,
    "retries": int,
    "connect_timeout": int,
    "write_timeout": int,
    "read_timeout": int,
    "routes": [ROUTE],
}
HEALTHCHECKS = {
    "threshold": (0,),
    "active": {
        "type": ("http",),
        "timeout": int,
        "concurrency": (10,),
        "http_path": str,
        "healthy": {"interval": int, "successes": int, "http_statuses": [int]},
        "unhealthy": {
            "interval": int, "tcp_failures": int, "timeouts": int, "http_failures": int,
            "http_statuses": [int],
        },
    },
    "passive": {
        "type": ("http",),
        "healthy": {"successes": (0,)},
        "unhealthy": {
            "tcp_failures": int, "timeouts": int, "http_failures": int, "http_statuses": [int],
        },
    },
}  # fmt: skip
UPSTREAM = {
    "name": str,
    "algorithm": ("round-robin", "consistent-hashing"),
    "hash_on?": ("consumer",),
    "healthchecks": HEALTHCHECKS,
    "targets": [{"target": str, "weight": int, "tags": [str]}],
}
CONSUMER = {
    "username": str,
    "tags": [str],
    "keyauth_credentials": [{"key": str, "tags": [str]}],
    "plugins?": [PLUGIN],
}
TOP = {
    "_format_version": ("3.0",),
    "_transform": (True,),
    "services?": [SERVICE],
    "upstreams?": [UPSTREAM],
    "consumers": [CONSUMER],
    "plugins": [PLUGIN],
}

# In the order they run in.
PLUGINS: dict[str, dict[str, Field]] = {
    "pre-function": {"access?": [str], "header_filter": [str], "body_filter": [str], "log?": [str]},
    "correlation-id": {"header_name": str, "generator": ("uuid",), "echo_downstream": (True,)},
    "key-auth": {
        "key_names": [str], "key_in_header": (True,), "key_in_query": (False,), "key_in_body": (False,),
        "hide_credentials": (True,),
    },
    "request-size-limiting": {"allowed_payload_size": int, "size_unit": ("megabytes",)},
    "rate-limiting": {
        "minute": int,
        "limit_by": ("consumer",),
        "policy": ("local", "redis"),
        "fault_tolerant?": (True,),
        "redis?": {
            "host": str, "port": int, "timeout": int, "password": str,
            "ssl?": (True,), "ssl_verify?": (True,), "server_name?": str,
        },
    },
    "prometheus": dict.fromkeys((
        "per_consumer", "status_code_metrics", "latency_metrics", "bandwidth_metrics",
        "upstream_health_metrics",
    ), (True,)),
    "http-log": {
        "http_endpoint": str,
        "timeout": int,
        "headers": {"Authorization": str},
        # One record in a batch, which is Kong's default.
        "queue": {"max_entries": int, "max_bytes": int, "max_retry_time": int, "max_retry_delay": int},
    },
    "post-function": {"access": [str]},
}  # fmt: skip
FUNCTION_PLUGINS = ("pre-function", "post-function")
