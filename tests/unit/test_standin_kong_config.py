"""The stand-in for Kong takes and refuses the declarative files Kong would."""

import copy

import pytest
import render
import standin_kong
from standins.kong.kong_standin.config import EMPTY_HASH, load, parse
from standins.kong.kong_standin.fields import InvalidError
from standins.kong.kong_standin.schema import PLUGINS
from standins.kong.kong_standin.settings import Listen, settings_of

RATE_LIMIT = {"name": "rate-limiting", "config": {"minute": 5}}


def good():
    tree = standin_kong.chat(("127.9.9.1:11434", 80), ("127.9.9.2:11435", 20), plugins=[RATE_LIMIT])
    tree["consumers"] = [{"username": "me", "keyauth_credentials": [{"key": "secret"}]}]
    return tree


def changed(place, value):
    """The good tree with one change; a place is keys and list positions."""
    tree = copy.deepcopy(good())
    *parents, last = place
    here = tree
    for step in parents:
        here = here[step]
    if isinstance(here, list) and last == len(here):
        here.append(value)
    else:
        here[last] = value
    return tree


SERVICE = ("services", 0)
ROUTE = (*SERVICE, "routes", 0)
UPSTREAM = ("upstreams", 0)
TARGET = (*UPSTREAM, "targets", 0)
CHECKS = (*UPSTREAM, "healthchecks")
PLUGIN = (*ROUTE, "plugins", 0)


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_the_file_that_ships_is_good(inventory):
    files = render.render_role("kong", inventory=inventory)
    config = parse(files["/opt/aicluster/kong/secrets/kong.yml"], PLUGINS)
    assert config.routes
    assert config.hash != EMPTY_HASH


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param((*TARGET, "weight"), 70000, "between 0 and 65535", id="weight beyond its range"),
        pytest.param((*TARGET, "weight"), "80", "expected an integer", id="weight as a string"),
        pytest.param((*TARGET, "failover"), True, "unknown field", id="a field of a later Kong"),
        pytest.param((*TARGET, "target"), "http://x", "Invalid target", id="a URL as a target"),
        pytest.param((*UPSTREAM, "algorithm"), "weighted", "expected one of", id="unknown algorithm"),
        pytest.param((*UPSTREAM, "slots"), 5, "between 10 and 65536", id="too few slots"),
        pytest.param((*UPSTREAM, "name"), "127.9.9.1", "no ip addresses", id="an upstream named as an IP"),
        pytest.param((*UPSTREAM, "name"), "a:80", "must be a hostname", id="an upstream with a port"),
        pytest.param((*UPSTREAM, "helthchecks"), {}, "unknown field", id="a misspelt field"),
        pytest.param(
            CHECKS,
            {"passive": {"unhealthy": {"tcp_failures": 300}}},
            "between 0 and 255",
            id="counter beyond its range",
        ),
        pytest.param(CHECKS, {"threshold": 101}, "between 0 and 100", id="threshold over 100 percent"),
        pytest.param(
            CHECKS, {"passive": {"interval": 5}}, "unknown field", id="passive checks have no interval"
        ),
        pytest.param((*SERVICE, "connect_timeout"), 0, "between 1 and 2147483646", id="no connect timeout"),
        pytest.param((*SERVICE, "retries"), 40000, "between 0 and 32767", id="too many retries"),
        pytest.param((*SERVICE, "host"), "pool:80", "invalid value", id="a host with a port"),
        pytest.param((*SERVICE, "path"), "api", "should start with: /", id="a path without a slash"),
        pytest.param((*ROUTE, "paths"), ["chat"], "should start with: /", id="a route path without a slash"),
        pytest.param((*ROUTE, "paths"), ["/a//b"], "empty segments", id="an empty segment"),
        pytest.param((*ROUTE, "paths"), ["~/a("], "invalid regex", id="a broken regex"),
        pytest.param((*ROUTE, "paths"), [], "must set one of", id="a route that matches everything"),
        pytest.param((*ROUTE, "protocols"), ["httpx"], "expected one of", id="unknown protocol"),
        pytest.param((*ROUTE, "path_handling"), "v2", "expected one of", id="unknown path handling"),
        pytest.param((*ROUTE, "methods"), ["post"], "invalid value", id="a method in lower case"),
        pytest.param((*PLUGIN, "name"), "bogus", "plugin 'bogus'", id="unknown plugin"),
        pytest.param((*PLUGIN, "config"), {"minutes": 5}, "unknown field", id="misspelt option of a plugin"),
        pytest.param((*PLUGIN, "config"), {}, "at least one of", id="a rate limit without a limit"),
        pytest.param(
            (*PLUGIN, "config"), {"minute": 1, "policy": "cluster"}, "expected one of", id="needs a database"
        ),
        pytest.param(
            (*PLUGIN, "config"), {"minute": 9, "hour": 5}, "longer period", id="an hour below a minute"
        ),
        pytest.param((*PLUGIN, "config"), {"minute": 1, "policy": "redis"}, "redis.host", id="redis nowhere"),
        pytest.param(
            PLUGIN,
            {"name": "pre-function", "config": {"access": ["return ("]}},
            "error parsing pre-function",
            id="Lua that does not compile",
        ),
        pytest.param(
            (*ROUTE, "plugins", 1),
            RATE_LIMIT,
            "uniqueness violation",
            id="the same plugin twice in one place",
        ),
        pytest.param(
            ("services", 1),
            {"name": "chat", "host": "x"},
            "uniqueness violation",
            id="two services of a name",
        ),
        pytest.param(
            ("consumers", 1),
            {"username": "you", "keyauth_credentials": [{"key": "secret"}]},
            "uniqueness violation",
            id="one key for two consumers",
        ),
        pytest.param(
            ("routes",),
            [{"paths": ["/x"], "service": "gone"}],
            "invalid reference",
            id="a service nobody has",
        ),
        pytest.param(("_format_version",), 3.0, "expected a string", id="a version that is a number"),
        pytest.param(("_format_version",), "9.9", "expected one of", id="unknown version"),
        pytest.param(("consumer_groups",), [], "unknown field", id="an entity of Kong Enterprise"),
    ],
)
def test_a_mistake_is_refused_with_its_reason(place, value, message):
    with pytest.raises(InvalidError, match=message):
        standin_kong.config_of(changed(place, value))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param((), None, id="the tree of these tests"),
        pytest.param(CHECKS, {"active": {"timeout": 0.5}}, id="half a second"),
        pytest.param(("_comment",), "x", id="a comment"),
        pytest.param((*TARGET, "weight"), 0, id="a drained target"),
        pytest.param(("keyauth_credentials",), [{"key": "other", "consumer": "me"}], id="a key at top level"),
        pytest.param(
            ("targets",), [{"target": "127.9.9.3:1", "upstream": "pool"}], id="a target at top level"
        ),
        pytest.param(
            ("routes",), [{"paths": ["/x"], "service": "chat"}], id="a route that names its service"
        ),
    ],
)
def test_what_kong_takes_is_taken(place, value):
    assert standin_kong.config_of(changed(place, value) if place else good()).services


def test_every_mistake_is_listed_at_once():
    tree = changed((*TARGET, "weight"), -1)
    tree["services"][0]["retries"] = -1
    with pytest.raises(InvalidError) as refused:
        standin_kong.config_of(tree)
    assert [p.path for p in refused.value.problems] == [
        "services[1].retries",
        "upstreams[1].targets[1].weight",
    ]


@pytest.mark.parametrize("name", ["kong.yml.j2", "kong.conf"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("_format_version: '3.0'")
    with pytest.raises(InvalidError, match="unknown file type"):
        load(path, PLUGINS)


def test_an_empty_file_has_the_hash_of_nothing():
    assert parse("_format_version: '3.0'", PLUGINS).hash == EMPTY_HASH


def test_a_plugin_that_is_not_enabled_is_refused():
    with pytest.raises(InvalidError, match="plugin 'rate-limiting' not enabled"):
        parse("_format_version: '3.0'\nplugins: [{name: rate-limiting, config: {minute: 1}}]", ["key-auth"])


def test_a_target_without_a_port_has_kongs():
    config = standin_kong.config_of(changed((*TARGET, "target"), "127.9.9.9"))
    assert config.upstreams["pool"].targets[0].name == "127.9.9.9:8000"


def test_ids_follow_names_so_that_counters_survive_a_reload():
    first, second = standin_kong.config_of(good()), standin_kong.config_of(changed((*TARGET, "weight"), 5))
    assert first.routes[0].id == second.routes[0].id
    assert first.hash != second.hash


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        pytest.param("0.0.0.0:8000", Listen("0.0.0.0", 8000), id="an address"),
        pytest.param(
            "0.0.0.0:8000 reuseport backlog=1, [::]:8000", Listen("0.0.0.0", 8000), id="with options"
        ),
        pytest.param("off", None, id="off"),
    ],
)
def test_listeners_are_read_from_kongs_variables(text, listen):
    assert settings_of({"KONG_DATABASE": "off", "KONG_PROXY_LISTEN": text}).proxy == listen


def test_a_setting_that_kong_does_not_have_is_refused():
    with pytest.raises(ValueError, match="upstream_keep_alive_pool_size"):
        settings_of({"KONG_DATABASE": "off", "KONG_UPSTREAM_KEEP_ALIVE_POOL_SIZE": "0"})


def test_a_setting_may_come_from_a_file(tmp_path):
    (tmp_path / "plugins").write_text("key-auth\n")
    settings = settings_of({"KONG_DATABASE": "off", "KONG_PLUGINS_FILE": str(tmp_path / "plugins")})
    assert settings.plugins == {"key-auth"}


def test_a_database_is_refused():
    with pytest.raises(ValueError, match="KONG_DATABASE=off"):
        settings_of({"KONG_DATABASE": "postgres"})
