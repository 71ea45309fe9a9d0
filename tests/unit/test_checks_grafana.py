"""The check of Grafana passes where it does its work, and names what it does not do."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from a_kit import ADDRESS, ScriptedKit, check_of, failure_of, site
from aicluster_verify import CheckError

grafana = check_of("grafana")
PORTS = {"/": f"http://{ADDRESS}:3000/api/health", "/grafana/": f"http://{ADDRESS}:80/grafana/api/health"}

UP = {"status": "success", "data": {"result": [{"metric": {"job": "x"}}, {"metric": {"job": "y"}}]}}
PI51 = {"name": "PI51", "services": {"prometheus": {}}}
ANSWERS: dict[str, tuple[int, Any]] = {
    "api/health": (200, {"database": "ok"}),
    "api/user": (200, {"login": "admin"}),
    "api/search?type=dash-db&limit=1000": (200, [{"uid": "one"}, {"uid": "two"}, {"uid": "another"}]),
    "api/datasources/proxy/uid/prometheus/api/v1/query?query=up": (200, UP),
}


def kit_of(answers: dict[str, tuple[int, Any]], root: str = "/", nginx: int = 200) -> ScriptedKit:
    """A node whose Grafana answers from a table; at any other path than /, through nginx."""

    def curl(argv: Sequence[str], stdin: str | None) -> str:
        assert stdin, "the password goes in by standard input"
        assert "the admin_password" not in " ".join(argv)
        words = base64.b64decode(stdin.removeprefix("Authorization: Basic ")).decode()
        assert words == "admin:the admin_password of grafana"
        status, body = answers[argv[-1].removeprefix(f"http://127.0.0.1:3000{root}")]
        return f"{body if isinstance(body, str) else json.dumps(body)}\n{status}"

    services = {"grafana": {"web": 3000}} | ({} if root == "/" else {"nginx": {"http": 80}})
    kit = ScriptedKit(
        site("PI41", services, [PI51]),
        {f"GET {PORTS[root]}": (nginx, {})},
        {"grafana: printenv *": f"http://192.0.2.4{root}\n", "grafana: *": curl},
        {"grafana/admin_password": "the admin_password of grafana"},
    )
    if root != "/":
        kit.services["grafana"]["ports"]["web"]["published"] = None
    return kit


@pytest.fixture(autouse=True)
def dashboards_of_the_node(tmp_path, monkeypatch):
    for uid in ("one", "two"):
        (tmp_path / f"{uid}.json").write_text(json.dumps({"uid": uid}))
    monkeypatch.setattr(grafana, "DASHBOARDS", str(tmp_path))
    return tmp_path


FAILED: dict[str, tuple[Any, ...]] = {
    "a lost database": ("api/health", (503, {"database": "failing"}), "answered 503"),
    "a sick database": ("api/health", (200, {"database": "failing"}), "database is 'failing'"),
    "another password": ("api/user", (401, {}), "refuses the password of its secret file"),
    "a visitor instead of the administrator": ("api/user", (200, {"login": ""}), "answered as ''"),
    "a dashboard missing": ("api/search?type=dash-db&limit=1000", (200, [{"uid": "one"}]),
        "dashboards missing: two"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "answer", "evidence"), FAILED.values(), ids=FAILED)
def test_a_grafana_that_does_not_is_named_with_the_evidence(path, answer, evidence):
    with pytest.raises(CheckError, match=evidence):
        grafana.check(kit_of({**ANSWERS, path: answer}))


def test_a_door_that_does_not_open_is_told():
    with pytest.raises(CheckError, match="answered 502 instead of 200") as failure:
        grafana.check(kit_of(ANSWERS, "/grafana/", nginx=502))
    assert failure.value.caused_by == ["nginx on PI41"]


def test_a_prometheus_that_does_not_answer_may_be_why():
    path = "api/datasources/proxy/uid/prometheus/api/v1/query?query=up"
    found = failure_of(grafana.check, kit_of({**ANSWERS, path: (502, {})}))
    assert found.caused_by == ["prometheus on PI51"]
