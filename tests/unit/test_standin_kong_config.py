"""The stand-in for Kong takes and refuses the declarative files and settings Kong would."""

from copy import deepcopy
from typing import Any

import pytest
from standin_kong import ENVIRONMENT, KEYS, chat, config_of, plugin
from standins.kong.kong_standin.config import EMPTY_HASH, load, parse
from standins.kong.kong_standin.fields import InvalidError
from standins.kong.kong_standin.schema import PLUGINS
from standins.kong.kong_standin.settings import settings_of

RATE_LIMIT = plugin("rate-limiting", minute=5)
GOOD = chat(("127.9.9.1:11434", 80), ("127.9.9.2:11435", 20), plugins=[RATE_LIMIT]) | KEYS
GOOD["upstreams"][0]["healthchecks"]["passive"] = {}


def changed(place, value):
    """The good tree with one change; a place is keys and positions, `services 0 retries`."""
    tree: Any = deepcopy(GOOD)
    *parents, last = [int(step) if step.isdigit() else step for step in place.split()]
    here = tree
    for step in parents:
        here = here[step]
    if isinstance(here, list):
        # What is not there yet is appended.
        here[last : last + 1] = [value]
    else:
        here[last] = value
    return tree


SERVICE, UPSTREAM = "services 0", "upstreams 0"
ROUTE, TARGET, CHECKS = f"{SERVICE} routes 0", f"{UPSTREAM} targets 0", f"{UPSTREAM} healthchecks"
PLUGIN = f"{ROUTE} plugins 0"
CONFIG = f"{PLUGIN} config"
NOT_HERE = "is not in this stand-in for Kong"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(f"{TARGET} weight", 70000, "between 0 and 65535", id="weight beyond its range"),
        pytest.param(f"{TARGET} target", "http://x", "Invalid target", id="a URL as a target"),
        pytest.param(f"{TARGET} target", "orin0:11434", "real Kong resolves names", id="a name as a target"),
        pytest.param(f"{UPSTREAM} algorithm", "weighted", "expected one of", id="unknown algorithm"),
        pytest.param(f"{UPSTREAM} algorithm", "latency", NOT_HERE, id="an algorithm nobody uses"),
        pytest.param(f"{UPSTREAM} slots", 100, "unknown field", id="a field nobody sets"),
        pytest.param(f"{UPSTREAM} helthchecks", {}, "unknown field", id="a misspelt field"),
        pytest.param(f"{CHECKS} passive", {"unhealthy": {"tcp_failures": 300}}, "0 and 255", id="a counter"),
        pytest.param(f"{CHECKS} passive", {"unhealthy": {"http_failures": 3}}, NOT_HERE, id="busy nodes go"),
        pytest.param(CHECKS, {"threshold": 20}, NOT_HERE, id="a share of weight that must be alive"),
        pytest.param(f"{CHECKS} passive", {"interval": 5}, "unknown field", id="passive probes"),
        pytest.param(f"{SERVICE} host", "gone", "no upstream 'gone'", id="a host that is no upstream"),
        pytest.param(f"{ROUTE} paths", ["chat"], "should start with: /", id="a route path without a slash"),
        pytest.param(f"{ROUTE} paths", ["~/a("], "invalid regex", id="a broken regex"),
        pytest.param(f"{ROUTE} paths", None, "required field missing", id="a route that matches everything"),
        pytest.param(f"{ROUTE} protocols", ["https"], NOT_HERE, id="TLS"),
        pytest.param(f"{ROUTE} methods", ["post"], "invalid value", id="a method in lower case"),
        pytest.param(f"{ROUTE} response_buffering", None, NOT_HERE, id="a default that is not implemented"),
        pytest.param(f"{PLUGIN} name", "acl", f"plugin 'acl' {NOT_HERE}", id="a plugin nobody uses"),
        pytest.param(CONFIG, {"minutes": 5}, "unknown field", id="misspelt option of a plugin"),
        pytest.param(CONFIG, {}, "required field missing", id="a rate limit without a limit"),
        pytest.param(CONFIG, {"minute": 1, "policy": "cluster"}, "expected one of", id="a database"),
        pytest.param(CONFIG, {"minute": 1, "policy": "redis"}, "redis.host", id="redis nowhere"),
        pytest.param(CONFIG, {"minute": 1, "fault_tolerant": False}, NOT_HERE, id="no Redis no answer"),
        pytest.param(PLUGIN, plugin("pre-function", access=["return ("]), "error parsing", id="broken Lua"),
        pytest.param(PLUGIN, plugin("post-function"), "must be non-empty", id="no Lua"),
        pytest.param(f"{ROUTE} plugins 1", RATE_LIMIT, "uniqueness violation", id="a plugin twice"),
        pytest.param("services 1", GOOD["services"][0], "uniqueness violation", id="two services of a name"),
        pytest.param("consumers 1", {"username": "me"}, "uniqueness violation", id="two consumers of a name"),
        pytest.param(
            "consumers 1", KEYS["consumers"][0] | {"username": "you"}, "uniqueness violation",
            id="one key for two consumers",
        ),
        pytest.param("_format_version", 3.0, "expected a string", id="a version that is a number"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_reason(place, value, message):
    with pytest.raises(InvalidError, match=message):
        config_of(changed(place, value))


def test_every_mistake_is_listed_at_once():
    tree = changed(f"{TARGET} weight", -1)
    tree["services"][0]["retries"] = -1
    with pytest.raises(InvalidError) as refused:
        config_of(tree)
    wrong = ["services[1].retries", "upstreams[1].targets[1].weight"]
    assert [problem.path for problem in refused.value.problems] == wrong


@pytest.mark.parametrize("name", ["kong.yml.j2", "kong.conf"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("_format_version: '3.0'")
    with pytest.raises(InvalidError, match="unknown file type"):
        load(tmp_path / name, PLUGINS)


def test_an_empty_file_has_the_hash_of_nothing():
    assert parse("_format_version: '3.0'", PLUGINS).hash == EMPTY_HASH


def test_a_plugin_that_is_not_enabled_is_refused():
    with pytest.raises(InvalidError, match="plugin 'rate-limiting' not enabled"):
        parse("_format_version: '3.0'\nplugins: [{name: rate-limiting, config: {minute: 1}}]", ["key-auth"])


def test_ids_follow_names_so_that_counters_survive_a_reload():
    first, second = config_of(GOOD), config_of(changed(f"{TARGET} weight", 5))
    assert first.routes[0].id == second.routes[0].id
    assert first.hash != second.hash


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        pytest.param("UPSTREAM_KEEP_ALIVE_POOL_SIZE", "0", "no setting of Kong", id="a misspelt setting"),
        pytest.param("DATABASE", "postgres", "KONG_DATABASE=off", id="a database"),
        pytest.param("HEADERS", "off", "KONG_HEADERS=latency_tokens", id="a value nobody uses"),
        pytest.param("PREFIX", None, "prefix: this stand-in has no default", id="a setting that is missing"),
        pytest.param("PROXY_ACCESS_LOG", "/dev/stdout other", "only logs JSON", id="an unknown format"),
        pytest.param(
            "NGINX_HTTP_LOG_FORMAT", "tries escape=json '$upstream_adr'", r"\$upstream_adr not in",
            id="a variable that is not there",
        ),
    ],
)  # fmt: skip
def test_a_setting_is_refused(name, value, problem):
    settings = {n: v for n, v in (ENVIRONMENT | {f"KONG_{name}": value}).items() if v is not None}
    with pytest.raises(ValueError, match=problem):
        settings_of(settings)
