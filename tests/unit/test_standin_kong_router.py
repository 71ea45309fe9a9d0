"""The stand-in for Kong chooses routes and cuts paths as Kong does."""

import pytest
import standin_kong
from standins.kong.kong_standin.router import Router, upstream_path


@pytest.mark.parametrize(
    ("base", "path", "prefix", "strip", "sent"),
    [
        pytest.param(None, "/api/v1/chat", "/api/v1/chat", True, "/", id="nothing is left"),
        pytest.param(
            "/", "/api/v1/chat/v1/models", "/api/v1/chat", True, "/v1/models", id="the rest is left"
        ),
        pytest.param(
            "/api/chat", "/api/v1/chat", "/api/v1/chat", True, "/api/chat", id="a service with a path"
        ),
        pytest.param("/api", "/api/v1/chat/chat", "/api/v1/chat", True, "/api/chat", id="both are joined"),
        pytest.param(
            "/api/chat", "/api/v1/chat/", "/api/v1/chat", True, "/api/chat/", id="a slash at the end stays"
        ),
        pytest.param("/api/", "/x", "/x", True, "/api", id="the base loses its slash"),
        pytest.param("/api/", "/x/", "/x/", True, "/api/", id="the base keeps its slash with the request's"),
        pytest.param("/", "/v1/models", "/v1/", False, "/v1/models", id="nothing is cut without strip_path"),
        pytest.param("/api", "/v1", "/v1", False, "/api/v1", id="the base goes before an uncut path"),
        pytest.param("/api", "/", "/", False, "/api", id="the root adds nothing"),
    ],
)
def test_paths_are_cut_and_joined_by_the_rules_of_v0(base, path, prefix, strip, sent):
    assert upstream_path(base, path, prefix, strip=strip) == sent


def matched(routes, path, method="GET", headers=None):
    tree = standin_kong.chat() | {"routes": [{"service": "chat", **route} for route in routes]}
    match = Router(standin_kong.config_of(tree).routes).match(method, path, "gateway", headers or {})
    return (match.route.name, match.prefix) if match else None


SHORT = {"name": "short", "paths": ["/v1"]}
LONG = {"name": "long", "paths": ["/v1/code"]}
REGEX = {"name": "regex", "paths": ["~/v1/co"]}
POST = {"name": "post", "paths": ["/v1"], "methods": ["POST"]}


@pytest.mark.parametrize(
    ("routes", "method", "path", "winner"),
    [
        pytest.param([SHORT, LONG], "GET", "/v1/code", ("long", "/v1/code"), id="the longest prefix"),
        pytest.param([SHORT, LONG], "GET", "/v1/codex", ("long", "/v1/code"), id="prefixes end anywhere"),
        pytest.param([LONG, REGEX], "GET", "/v1/code", ("regex", "/v1/co"), id="a regex before any prefix"),
        pytest.param([LONG, POST], "POST", "/v1/code", ("post", "/v1"), id="more conditions first"),
        pytest.param([POST], "GET", "/v1", None, id="no other method"),
        pytest.param([SHORT], "GET", "/v2", None, id="no other path"),
        pytest.param(
            [{"name": "end", "paths": ["~/v1/code/?$"]}], "GET", "/v1/codex", None, id="a regex ends a path"
        ),
        pytest.param(
            [REGEX, {"name": "first", "paths": ["~/v1"], "regex_priority": 1}],
            "GET", "/v1/code", ("first", "/v1"), id="the regex of higher priority",
        ),
    ],
)  # fmt: skip
def test_one_route_wins(routes, method, path, winner):
    assert matched(routes, path, method) == winner


@pytest.mark.parametrize(
    ("value", "there"),
    [("big", True), ("BIG", True), ("small", False), (None, False)],
    ids=["the value fits", "case does not matter", "another value", "no such header"],
)
def test_a_route_may_ask_for_a_header(value, there):
    route = {"name": "class", "headers": {"x-model-class": ["big"]}}
    headers = {"x-model-class": value} if value else {}
    assert (matched([route], "/any", headers=headers) is not None) == there
