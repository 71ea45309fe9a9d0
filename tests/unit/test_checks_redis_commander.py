"""The check of redis-commander: strangers outside, operators inside, every Redis answering."""

import json
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import pytest
from aicluster_verify import Answer, Broken, Kit
from by_path import import_file

redis_commander = import_file(
    "roles/redis_commander/templates/opt/aicluster/checks/redis_commander.py",
    "aicluster_check_redis_commander",
)

SETTINGS = {
    "server": {"httpAuth": {"username": "operator", "password": "pass & word"}},
    "connections": [{"label": "PI52", "host": "redis", "port": 6379, "password": "x"}],
}
ANSWERING = {"host": "redis", "port": 6379, "info": [{"key": "Redis version", "value": "8"}]}
AWAY = {"host": "redis", "port": 6379, "disabled": True, "error": "Status: reconnecting"}


class FakeKit(Kit):
    """A node with a page that answers as redis-commander does."""

    def __init__(self, **differing: Any) -> None:
        web = {"port": 8081, "container": 8081, "published": "192.0.2.52"}
        services = {"redis_commander": {"ports": {"web": web}}}
        super().__init__({"node": "PI52", "services": services, "cluster": []}, "run")
        self.settings: dict[str, Any] = SETTINGS
        self.closed, self.password = True, "pass & word"
        self.listed = [{"label": "PI52", "options": {"host": "redis", "port": 6379}}]
        self.info = [ANSWERING]
        vars(self).update(differing)

    def secret(self, service: str, name: str) -> str:
        assert (service, name) == ("redis_commander", "local-production.json")
        return json.dumps(self.settings)

    def http(
        self, url: str, method: str = "GET", data: Any = None, headers: Any = None, timeout: float = 10
    ) -> Answer:
        assert (method, timeout <= 30) == ("POST" if data else "GET", True)
        path = url.removeprefix("http://192.0.2.52:8081")
        if path == "/signin":
            form = {name: values[0] for name, values in parse_qs(str(data)).items()}
            right = form == {"username": "operator", "password": self.password}
            return self.json(200, {"ok": True, "bearerToken": "tok"} if right else {"ok": False})
        if self.closed and (headers or {}).get("Authorization") != "Bearer tok":
            return self.json(401, "Unauthorized - Missing Token")
        return self.json(
            200,
            {"/connections": {"connections": self.listed}, "/apiv2/server/info": {"data": self.info}}[path],
        )

    @staticmethod
    def json(status: int, value: Any) -> Answer:
        return Answer(status, Message(), json.dumps(value).encode())


def test_a_page_that_works_is_told_with_what_was_seen():
    evidence = redis_commander.check(FakeKit())
    assert evidence == "strangers refused, operator signed in, 1 Redis answering"


@pytest.mark.parametrize(
    ("differing", "evidence"),
    [
        pytest.param({"closed": False}, "answered 200 instead of 401", id="open to strangers"),
        pytest.param({"password": "an old one"}, "refuses the password", id="another password"),
        pytest.param({"settings": SETTINGS | {"connections": []}}, "no Redis is open", id="nothing to show"),
        pytest.param({"listed": []}, "connections missing: redis:6379", id="a connection lost"),
        pytest.param({"info": [AWAY]}, "no answer from Redis at redis:6379", id="a Redis away"),
        pytest.param({"info": []}, "no answer from Redis at redis:6379", id="a Redis never asked"),
    ],
)
def test_one_that_does_not_is_named_with_the_evidence(differing, evidence):
    with pytest.raises(Broken, match=evidence):
        redis_commander.check(FakeKit(**differing))
