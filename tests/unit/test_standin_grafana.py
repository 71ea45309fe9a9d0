"""The stand-in for Grafana reads files, logs people in and asks data sources as the real one does."""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from standins.grafana.grafana_standin import VERSION
from standins.grafana.grafana_standin import __main__ as command_line
from standins.grafana.grafana_standin.provisioning import ProvisioningError
from standins.grafana.grafana_standin.server import Api
from standins.grafana.grafana_standin.settings import settings_of
from standins.grafana.grafana_standin.store import Store
from tree import ROOT


def basic(password):
    return {"Authorization": "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()}


ADMIN, WRONG = basic("right"), basic("wrong")
NOBODY: dict[str, str] = {}
PROMETHEUS = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://127.0.0.1:9"}
BOARD = {"uid": "board", "title": "A Board", "tags": ["x"], "panels": [{"title": "P", "type": "stat"}]}


@pytest.fixture
def home(tmp_path):
    """A data directory, provisioning files and one dashboard."""
    for folder in ("data", "provisioning/datasources", "provisioning/dashboards", "boards"):
        (tmp_path / folder).mkdir(parents=True)
    put(tmp_path / "provisioning/datasources/all.yml", {"apiVersion": 1, "datasources": [PROMETHEUS]})
    provider = {"name": "files", "options": {"path": str(tmp_path / "boards")}}
    put(tmp_path / "provisioning/dashboards/all.yml", {"apiVersion": 1, "providers": [provider]})
    put(tmp_path / "boards/board.json", BOARD)
    return tmp_path


def put(path: Path, content):
    path.write_text(
        content
        if isinstance(content, str)
        else (json.dumps if path.suffix == ".json" else yaml.safe_dump)(content)
    )


def environment(home: Path, **more):
    paths = {"GF_PATHS_DATA": home / "data", "GF_PATHS_PROVISIONING": home / "provisioning"}
    return {**{k: str(v) for k, v in paths.items()}, "GF_SECURITY_ADMIN_PASSWORD": "right", **more}


def api(home: Path, **more) -> Api:
    variables = environment(home, **more)
    return Api(settings_of(variables), variables)


def talk(home: Path, conversation, **more):
    """Run a conversation with a stand-in; return what it returns."""

    async def run():
        async with TestClient(TestServer(api(home, **more).application())) as client:
            return await conversation(client)

    return asyncio.run(run())


def get(home: Path, path: str, who=ADMIN, **more):
    """Status and body (JSON where it is) of one GET."""

    async def conversation(client):
        answer = await client.get(path, headers=who, allow_redirects=False)
        body = await answer.json() if answer.content_type == "application/json" else await answer.text()
        return answer.status, body

    return talk(home, conversation, **more)


# --- settings ---


def test_a_setting_nobody_has_heard_of_is_refused(home):
    with pytest.raises(ValueError, match="GF_SERVER_ENABLE_GZIPP: no setting"):
        settings_of(environment(home, GF_SERVER_ENABLE_GZIPP="false"))


def test_a_switch_is_true_or_false(home):
    with pytest.raises(ValueError, match="GF_AUTH_ANONYMOUS_ENABLED: 'maybe'"):
        settings_of(environment(home, GF_AUTH_ANONYMOUS_ENABLED="maybe"))


def test_a_value_may_be_the_text_of_a_file(tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    by_file = {"GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{tmp_path / 'secret'}}}"}
    assert settings_of(by_file).admin_password == "from a file"
    with pytest.raises(FileNotFoundError):
        settings_of({"GF_SECURITY_ADMIN_PASSWORD": "$__file{/not/there}"})


def run_sh(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point; in the server's place `env` tells what it is left with."""
    server = tmp_path / "grafana"
    server.write_text("#!/bin/sh\nexec env\n")
    server.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    argv = ["sh", str(ROOT / "lab/standins/grafana/run.sh")]
    return subprocess.run(argv, env={"PATH": path, **variables}, capture_output=True, text=True, check=False)


def test_the_entry_point_leaves_the_text_of_a_file_in_the_environment_as_the_image_s_does(tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    by_file = {"GF_SECURITY_ADMIN_PASSWORD__FILE": str(tmp_path / "secret")}
    left = run_sh(tmp_path, **by_file).stdout.splitlines()
    assert [line for line in left if line.startswith("GF_")] == ["GF_SECURITY_ADMIN_PASSWORD=from a file"]
    both = run_sh(tmp_path, **by_file, GF_SECURITY_ADMIN_PASSWORD="x")
    assert both.returncode == 1 and "are exclusive" in both.stderr


# --- provisioning ---

SECOND = PROMETHEUS | {"name": "Second", "uid": "second"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("datasources: [", "could not parse provisioning config file: all.yml", id="no YAML"),
        pytest.param({"datasources": []}, "apiVersion: 1", id="no version"),
        pytest.param({"apiVersion": 1, "datasources": {"name": "x"}}, "cannot unmarshal", id="no list"),
        pytest.param(
            {
                "apiVersion": 1,
                "datasources": [PROMETHEUS | {"isDefault": True}, SECOND | {"isDefault": True}],
            },
            "Only one datasource per organization can be marked as default",
            id="two defaults",
        ),
        pytest.param(
            {"apiVersion": 1, "datasources": [PROMETHEUS, SECOND | {"uid": "prometheus"}]},
            "data source with the same uid already exists",
            id="a uid twice",
        ),
        pytest.param(
            {"apiVersion": 1, "datasources": [PROMETHEUS | {"uid": "no spaces"}]},
            "invalid format of UID",
            id="a bad uid",
        ),
        pytest.param(
            {"apiVersion": 1, "datasources": [PROMETHEUS | {"url": "pi51:9090"}]},
            "invalid url",
            id="a bad address",
        ),
        pytest.param(
            {"apiVersion": 1, "datasources": [PROMETHEUS | {"editable": "off"}]},
            "neither true nor false",
            id="a bad switch",
        ),
    ],
)
def test_a_broken_file_of_data_sources_ends_the_start(home, content, message):
    put(home / "provisioning/datasources/all.yml", content)
    with pytest.raises(ProvisioningError, match=message):
        api(home)


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        pytest.param({"name": "x"}, "path param is not a string", id="without a path"),
        pytest.param(
            {"name": "x", "type": "http", "options": {"path": "/x"}},
            "type http is not supported",
            id="not files",
        ),
        pytest.param(
            {"name": "x", "folder": "F", "options": {"path": "/x", "foldersFromFilesStructure": True}},
            "should be empty",
            id="two ways to name folders",
        ),
    ],
)
def test_a_broken_provider_ends_the_start(home, provider, message):
    put(home / "provisioning/dashboards/all.yml", {"apiVersion": 1, "providers": [provider]})
    with pytest.raises(ProvisioningError, match=message):
        api(home)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("{", "failed to load dashboard", id="no JSON"),
        pytest.param({"uid": "x"}, "title cannot be empty", id="without a title"),
        pytest.param(
            {"apiVersion": "v2", "spec": {"title": "X"}}, "title cannot be empty", id="of the next schema"
        ),
        pytest.param({"title": "X", "uid": "a b"}, "illegal characters", id="with a bad uid"),
    ],
)
def test_a_broken_dashboard_is_left_out_and_logged(home, capsys, content, said):
    put(home / "boards/broken.json", content)
    _, found = get(home, "/api/search")
    assert [each["uid"] for each in found] == ["board"]
    assert said in capsys.readouterr().out


def test_a_uid_twice_takes_a_provider_all_its_dashboards(home, capsys):
    put(home / "boards/again.json", BOARD)
    assert get(home, "/api/search") == (200, [])
    assert "no database write permissions because of duplicates" in capsys.readouterr().out


def test_variables_in_provisioning_files_are_filled_in(home):
    put(
        home / "provisioning/datasources/all.yml",
        {"apiVersion": 1, "datasources": [PROMETHEUS | {"name": "$GF_PATHS_DATA$$"}]},
    )
    _, [found] = get(home, "/api/datasources")
    assert found["name"] == f"{home / 'data'}$"


def test_a_new_file_is_found_when_the_interval_has_passed(home):
    provider = {"name": "files", "updateIntervalSeconds": 0.01, "options": {"path": str(home / "boards")}}
    put(home / "provisioning/dashboards/all.yml", {"apiVersion": 1, "providers": [provider]})

    async def conversation(client):
        put(home / "boards/second.json", BOARD | {"uid": "second", "title": "Second"})
        await asyncio.sleep(0.05)
        return [each["uid"] for each in await (await client.get("/api/search", headers=ADMIN)).json()]

    assert talk(home, conversation) == ["board", "second"]


# --- who may ---


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        pytest.param("/api/user", ADMIN, 200, id="the password opens"),
        pytest.param("/api/user", WRONG, 401, id="another one does not"),
        pytest.param("/api/search", NOBODY, 401, id="nor none"),
        pytest.param("/api/health", NOBODY, 200, id="health is for everybody"),
        pytest.param("/healthz", NOBODY, 200, id="life is, too"),
        pytest.param("/", NOBODY, 302, id="people are sent to log in"),
        pytest.param("/api/nothing", ADMIN, 404, id="what is not there is not there"),
        pytest.param("/api/dashboards/uid/nothing", ADMIN, 404, id="an unknown dashboard"),
    ],
)
def test_a_closed_grafana(home, path, who, status):
    assert get(home, path, who)[0] == status


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        pytest.param("/api/search", NOBODY, 200, id="a visitor sees dashboards"),
        pytest.param("/api/dashboards/uid/board", NOBODY, 200, id="opens one"),
        pytest.param("/", NOBODY, 200, id="and the first page"),
        pytest.param("/api/user", NOBODY, 401, id="but is nobody"),
        pytest.param("/api/datasources", NOBODY, 403, id="and does not see data sources"),
        pytest.param("/api/search", WRONG, 401, id="a wrong password is refused, visitors welcome or not"),
        pytest.param("/api/datasources", ADMIN, 200, id="the administrator sees everything"),
    ],
)
def test_a_grafana_open_to_visitors(home, path, who, status):
    assert get(home, path, who, GF_AUTH_ANONYMOUS_ENABLED="true")[0] == status


def test_a_session_is_a_cookie(home):
    async def conversation(client):
        refused = await client.post("/login", json={"user": "admin", "password": "wrong"})
        await client.post("/login", json={"user": "admin", "password": "right"})
        inside = await client.get("/api/user")
        await client.get("/logout")
        outside = await client.get("/api/user")
        return refused.status, inside.status, outside.status

    assert talk(home, conversation) == (401, 200, 401)


def test_nobody_begins_a_session_where_the_form_is_off(home):
    async def conversation(client):
        return (await client.post("/login", json={"user": "admin", "password": "right"})).status

    assert talk(home, conversation, GF_AUTH_DISABLE_LOGIN_FORM="true") == 401


# --- the password ---


def test_a_new_password_in_the_environment_changes_nothing_after_the_first_start(home):
    get(home, "/api/user")
    later = {"GF_SECURITY_ADMIN_PASSWORD": "new"}
    assert get(home, "/api/user", **later)[0] == 200
    assert get(home, "/api/user", basic("new"), **later)[0] == 401


def test_the_command_line_changes_it_while_the_server_runs(home, monkeypatch, capsys):
    async def conversation(client):
        before = (await client.get("/api/user", headers=WRONG)).status
        monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
        monkeypatch.setattr("os.environ", environment(home))
        command_line.main(
            [
                "cli",
                "--homepath",
                "/x",
                "--config",
                "/y",
                "admin",
                "reset-admin-password",
                "--password-from-stdin",
            ]
        )
        return before, (await client.get("/api/user", headers=WRONG)).status

    assert talk(home, conversation) == (401, 200)
    assert "changed successfully" in capsys.readouterr().out


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit, match="usage: grafana"):
        command_line.main(["cli", "plugins", "install", "x"])


def test_the_password_is_kept_as_a_hash(home):
    Store(home / "data").begin("admin", "a secret word")
    assert not any("a secret word" in path.read_text() for path in (home / "data").iterdir())


# --- health ---


def test_health_tells_the_database_and_the_version_unless_that_is_hidden(home):
    assert get(home, "/api/health")[1] == {"database": "ok", "version": VERSION, "commit": "stand-in"}
    assert get(home, "/api/health", GF_AUTH_ANONYMOUS_HIDE_VERSION="true")[1] == {"database": "ok"}


def test_a_lost_database_is_told(home):
    async def conversation(client):
        for path in (home / "data").iterdir():
            path.unlink()
        answer = await client.get("/api/health")
        return answer.status, (await answer.json())["database"]

    assert talk(home, conversation) == (503, "failing")


# --- below a path ---

BELOW = {"GF_SERVER_ROOT_URL": "http://pi51/grafana/", "GF_SERVER_SERVE_FROM_SUB_PATH": "true"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/grafana/api/health", 200, id="it answers below its path"),
        pytest.param("/api/health", 301, id="beside it everybody is sent there"),
        pytest.param("/grafana", 301, id="the path itself gets its slash"),
        pytest.param("/grafana/nothing", 404, id="below it nothing is nothing"),
    ],
)
def test_a_grafana_below_a_path(home, path, status):
    assert get(home, path, **BELOW)[0] == status


def test_addresses_of_dashboards_begin_with_the_path(home):
    _, [found] = get(home, "/grafana/api/search", **BELOW)
    assert found["url"] == "/grafana/d/board/a-board"


# --- dashboards ---


def test_a_dashboard_is_told_with_where_it_comes_from(home):
    _, found = get(home, "/api/dashboards/uid/board")
    assert found["dashboard"] == BOARD
    assert found["meta"]["provisioned"] is True
    assert found["meta"]["provisionedExternalId"] == "board.json"
    assert found["meta"]["canSave"] is False


@pytest.mark.parametrize(
    ("query", "count"),
    [
        pytest.param("", 1, id="everything"),
        pytest.param("?query=BOAR", 1, id="part of the title"),
        pytest.param("?query=else", 0, id="no part of it"),
        pytest.param("?tag=x", 1, id="a tag"),
        pytest.param("?tag=y", 0, id="another tag"),
        pytest.param("?type=dash-folder", 0, id="folders"),
    ],
)
def test_search(home, query, count):
    assert len(get(home, f"/api/search{query}")[1]) == count


def test_a_page_lists_the_panels_and_says_what_it_is(home):
    panel = {"title": "<Load>", "type": "stat", "description": "D", "targets": [{"expr": "up < 1"}]}
    put(home / "boards/board.json", BOARD | {"panels": [{"type": "row", "title": "R"}, panel]})
    status, page = get(home, "/d/board/a-board")
    assert status == 200
    assert "&lt;Load&gt;" in page and "up &lt; 1" in page
    assert "stand-in" in page


def test_the_first_page_is_the_home_dashboard_where_one_is_named(home):
    first = {"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(home / "boards/board.json")}
    assert "<h1>A Board</h1>" in get(home, "/", **first)[1]
    assert "<h1>Dashboards</h1>" in get(home, "/")[1]


# --- data sources ---


def ask_through(home: Path, conversation, answer=None):
    """Run a conversation with a stand-in whose Prometheus answers; return what was said and asked."""
    asked = []

    async def prometheus(request):
        asked.append((request.method, str(request.rel_url), dict(request.headers), await request.text()))
        return web.json_response(answer or {"status": "success", "data": {"result": [1]}})

    async def run():
        behind = web.Application()
        behind.router.add_route("*", "/{path:.*}", prometheus)
        async with TestServer(behind) as server:
            source = PROMETHEUS | {"url": str(server.make_url("/"))}
            put(home / "provisioning/datasources/all.yml", {"apiVersion": 1, "datasources": [source]})
            async with TestClient(TestServer(api(home).application())) as client:
                return await conversation(client)

    return asyncio.run(run()), asked


PROXY = "/api/datasources/proxy/uid/prometheus/"


def test_a_question_is_passed_on_as_it_is_without_the_login(home):
    async def conversation(client):
        path = f"{PROXY}api/v1/query?query=sum(up)%2B1"
        return await (await client.get(path, headers=ADMIN)).json()

    answer, [(method, url, headers, _)] = ask_through(home, conversation)
    assert answer["data"]["result"] == [1]
    assert (method, url) == ("GET", "/api/v1/query?query=sum(up)%2B1")
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "api/v1/query", 200, id="questions may be long, so they are posted"),
        pytest.param("POST", "api/v1/admin/tsdb/delete_series", 403, id="nothing is deleted this way"),
        pytest.param("DELETE", "api/v1/query", 403, id="nor that"),
    ],
)
def test_what_is_let_through_to_a_prometheus(home, method, path, status):
    async def conversation(client):
        return (await client.request(method, PROXY + path, data={"query": "up"}, headers=ADMIN)).status

    seen, asked = ask_through(home, conversation)
    assert seen == status
    assert bool(asked) is (status == 200)
    assert not asked or asked[0][3] == "query=up"


def test_the_health_of_a_prometheus_is_a_question_it_answers(home):
    async def conversation(client):
        return await (await client.get("/api/datasources/uid/prometheus/health", headers=ADMIN)).json()

    assert ask_through(home, conversation)[0]["status"] == "OK"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param(f"{PROXY}api/v1/query?query=up", 502, id="through the proxy"),
        pytest.param("/api/datasources/uid/prometheus/health", 400, id="asked for its health"),
        pytest.param("/api/datasources/uid/nobody/health", 404, id="one that is not there"),
        pytest.param(
            "/api/datasources/proxy/uid/nobody/x", 404, id="one that is not there, through the proxy"
        ),
    ],
)
def test_a_data_source_that_does_not_answer(home, path, status):
    assert get(home, path)[0] == status
