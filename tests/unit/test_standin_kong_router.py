"""The stand-in for Kong chooses routes and cuts paths as Kong does."""

import pytest
import standin_kong
from standins.kong.kong_standin.router import Router, upstream_path


@pytest.mark.parametrize(
    ("base", "path", "prefix", "strip", "sent"),
    [
        pytest.param("/", "/api/v1/chat", "/api/v1/chat", True, "/", id="nothing is left"),
        pytest.param("/", "/chat/v1/models", "/chat", True, "/v1/models", id="the rest is left"),
        pytest.param("/api/chat", "/chat", "/chat", True, "/api/chat", id="a service with a path"),
        pytest.param("/api", "/v1/chat", "/v1", True, "/api/chat", id="both are joined"),
        pytest.param("/api/chat", "/chat/", "/chat", True, "/api/chat/", id="a slash at the end stays"),
        pytest.param("/api/", "/x", "/x", True, "/api", id="the base loses its slash"),
        pytest.param("/api/", "/x/", "/x/", True, "/api/", id="the base keeps its slash with the request's"),
        pytest.param("/", "/v1/models", "/v1/", False, "/v1/models", id="nothing is cut without strip_path"),
        pytest.param("/api", "/v1", "/v1", False, "/api/v1", id="the base goes before an uncut path"),
        pytest.param("/api", "/", "/", False, "/api", id="the root adds nothing"),
    ],
)
def test_paths_are_cut_and_joined_by_the_rules_of_v0(base, path, prefix, strip, sent):
    assert upstream_path(base, path, prefix, strip=strip) == sent


SHORT = {"name": "short", "paths": ["/v1"]}
LONG = {"name": "long", "paths": ["/v1/code"]}
REGEX = {"name": "regex", "paths": ["~/v1/co"]}
ENDS = {"name": "ends", "paths": ["~/v1/code$"]}


@pytest.mark.parametrize(
    ("routes", "method", "path", "winner"),
    [
        pytest.param([SHORT, LONG], "GET", "/v1/code", ("long", "/v1/code"), id="the longest prefix"),
        pytest.param([SHORT, LONG], "GET", "/v1/codex", ("long", "/v1/code"), id="prefixes end anywhere"),
        pytest.param([LONG, REGEX], "GET", "/v1/code", ("regex", "/v1/co"), id="a regex before any prefix"),
        pytest.param([LONG], "PUT", "/v1/code", None, id="no other method"),
        pytest.param([SHORT], "GET", "/v2", None, id="no other path"),
        pytest.param([ENDS], "GET", "/v1/codex", None, id="a regex may end a path"),
    ],
)
def test_one_route_wins(routes, method, path, winner):
    tree = standin_kong.chat()
    common = {"methods": ["GET"], "response_buffering": False}
    tree["services"][0]["routes"] = [common | route for route in routes]
    match = Router(standin_kong.config_of(tree).routes).match(method, path)
    assert (match and (match.route.name, match.prefix)) == winner
