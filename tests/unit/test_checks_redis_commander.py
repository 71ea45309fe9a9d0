"""The check of redis-commander: strangers outside, operators inside, every Redis answering."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from a_kit import ScriptedKit, check_of, failure_of, site

redis_commander = check_of("redis_commander")
SETTINGS = {
    "server": {"httpAuth": {"username": "operator", "password": "pass & word"}},
    "connections": [{"label": "PI52", "host": "redis", "port": 6379, "password": "x"}],
}
ANSWERING = {"host": "redis", "port": 6379, "info": [{"key": "Redis version", "value": "8"}]}
AWAY = {"host": "redis", "port": 6379, "disabled": True, "error": "Status: reconnecting"}


HEALTHY: dict[str, Any] = {
    "settings": SETTINGS,
    "closed": True,
    "password": "pass & word",
    "listed": [{"label": "PI52", "options": {"host": "redis", "port": 6379}}],
    "info": [ANSWERING],
}


def kit_of(**differing: Any) -> ScriptedKit:
    """A node with a page that answers as redis-commander does."""
    given = HEALTHY | differing

    def sign_in(data: str, _sent: Any) -> Any:
        form = {name: values[0] for name, values in parse_qs(data).items()}
        right = form == {"username": "operator", "password": given["password"]}
        return 200, {"ok": True, "bearerToken": "tok"} if right else {"ok": False}

    def inside(page: Any) -> Callable[[Any, Any], Any]:
        def answer(_data: Any, sent: Any) -> Any:
            stranger = given["closed"] and sent.get("Authorization") != "Bearer tok"
            return (401, "Unauthorized - Missing Token") if stranger else (200, page)

        return answer

    answers = {
        "POST /signin": sign_in,
        "GET /connections": inside({"connections": given["listed"]}),
        "GET /apiv2/server/info": inside({"data": given["info"]}),
    }
    secrets = {"redis_commander/local-production.json": json.dumps(given["settings"])}
    return ScriptedKit(site("PI52", {"redis_commander": {"web": 8081}}), answers, secrets=secrets)


@pytest.mark.parametrize(("differing", "evidence"), [
    pytest.param({"closed": False}, "answered 200 instead of 401", id="open to strangers"),
    pytest.param({"password": "an old one"}, "refuses the password", id="another password"),
    pytest.param({"listed": []}, "connections missing: redis:6379", id="a connection lost"),
    pytest.param({"info": [AWAY]}, "no answer from Redis at redis:6379", id="a Redis away"),
])  # fmt: skip
def test_one_that_does_not_is_named_with_the_evidence(differing, evidence):
    assert evidence in failure_of(redis_commander.check, kit_of(**differing)).evidence
