"""The stand-in for Grafana refuses what Grafana would, and what it would not heed itself."""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from standing_in import GATEWAY, OPERATORS, PASSWORD, ask, grafana, listening, provisioned, talk
from standins.grafana.grafana_standin import __main__ as command_line
from standins.grafana.grafana_standin.provisioning import ProvisioningError
from standins.grafana.grafana_standin.settings import settings_of

SOURCES, PROVIDERS = "provisioning/datasources/all.yml", "provisioning/dashboards/all.yml"
PROXY = "/api/datasources/proxy/uid/prometheus/api/v1/query"


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()}


ADMIN, WRONG, NOBODY = basic(PASSWORD), basic("wrong"), dict[str, str]()


@pytest.fixture
def home(tmp_path):
    return provisioned(tmp_path)


def change(path: Path, key: str, **changed: Any) -> None:
    """Change the first entry of a provisioning file."""
    content = yaml.safe_load(path.read_text())
    content[key][0].update(changed)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("GF_SERVER_ENABLE_GZIPP", "false", id="a setting nobody has heard of"),
        pytest.param("GF_SECURITY_ADMIN_PASSWORD__FILE", "/x", id="one that only the image's run.sh knows"),
        pytest.param("GF_AUTH_ANONYMOUS_ENABLED", "maybe", id="a switch that is neither true nor false"),
        pytest.param("GF_AUTH_ANONYMOUS_ORG_ROLE", "Editor", id="visitors who may more than look"),
    ],
)
def test_a_wrong_setting_ends_the_start(name, value):
    with pytest.raises(ValueError, match=name):
        settings_of({name: value})


def test_a_value_may_be_the_text_of_a_file(tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    by_file = {"GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{tmp_path / 'secret'}}}"}
    assert settings_of(by_file).admin_password == "from a file"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"uid": "no spaces"}, "invalid format of UID", id="a bad uid"),
        pytest.param({"uid": "alertmanager"}, "the same data source uid", id="a uid twice"),
        pytest.param({"url": "pi51:9090"}, "invalid url", id="a bad address"),
        pytest.param({"name": "$NAME"}, "variables are not filled in", id="a variable"),
        pytest.param({"type": ""}, "name and type are required", id="no type"),
        pytest.param({"access": "direct"}, "access: proxy only", id="browsers that ask themselves"),
        pytest.param({"basicAuth": True}, "basicAuth: not known", id="what this stand-in would not heed"),
    ],
)
def test_a_broken_data_source_ends_the_start(home, changed, message):
    change(home / SOURCES, "datasources", **changed)
    with pytest.raises(ProvisioningError, match=message):
        grafana(home)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"options": {}}, "wants path alone", id="without a path"),
        pytest.param({"type": "http"}, "only knows one type", id="not files"),
        pytest.param({"allowUiUpdates": True}, "only knows one allowUiUpdates", id="edited in the browser"),
        pytest.param({"folderUid": "x"}, "folderUid: not known", id="what this stand-in would not heed"),
    ],
)
def test_a_broken_provider_ends_the_start(home, changed, message):
    change(home / PROVIDERS, "providers", **changed)
    with pytest.raises(ProvisioningError, match=message):
        grafana(home)


@pytest.mark.parametrize("text", ["datasources: [", "datasources: []", "apiVersion: 1\ndatasources: {}"])
def test_a_file_that_is_none_ends_the_start(home, text):
    (home / SOURCES).write_text(text)
    with pytest.raises(ProvisioningError, match=r"all\.yml"):
        grafana(home)


@pytest.mark.parametrize(
    ("content", "said", "others"),
    [
        pytest.param("{", "failed to load dashboard", True, id="no JSON"),
        pytest.param('{"uid": "x"}', "title cannot be empty", True, id="without a title"),
        pytest.param('{"title": "X", "uid": "a b"}', "illegal characters", True, id="with a bad uid"),
        pytest.param(
            '{"title": "X", "uid": "aicluster-node"}', "because of duplicates", False, id="a uid of another"
        ),
    ],
)
def test_a_broken_dashboard_is_left_out_and_logged(home, capsys, content, said, others):
    (home / "dashboards/broken.json").write_text(content)
    found = ask(grafana(home), "/api/search?type=dash-db", headers=ADMIN).json()
    assert [each["title"] for each in found if each["title"] == "X"] == []
    assert bool(found) is others
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "who", "closed", "open_to_visitors"),
    [
        pytest.param("/api/user", ADMIN, 200, 200, id="the password opens"),
        pytest.param("/api/user", WRONG, 401, 401, id="another one does not"),
        pytest.param("/api/user", NOBODY, 401, 401, id="a visitor is nobody"),
        pytest.param("/api/search?type=dash-db", NOBODY, 401, 200, id="but sees dashboards"),
        pytest.param("/api/search?type=dash-db", WRONG, 401, 401, id="unless with a wrong password"),
        pytest.param("/api/search?query=x", ADMIN, 501, 501, id="search takes no other words"),
        pytest.param("/api/dashboards/uid/aicluster-node", NOBODY, 401, 200, id="opens one"),
        pytest.param("/api/dashboards/uid/nothing", ADMIN, 404, 404, id="an unknown dashboard"),
        pytest.param("/api/datasources", NOBODY, 401, 403, id="and does not see data sources"),
        pytest.param("/api/datasources", ADMIN, 200, 200, id="which the administrator does"),
        pytest.param(PROXY, NOBODY, 401, 502, id="a visitor may ask a data source, which is away"),
        pytest.param("/api/datasources/proxy/uid/nobody/x", ADMIN, 404, 404, id="an unknown one"),
        pytest.param("/api/health", NOBODY, 200, 200, id="health is for everybody"),
        pytest.param("/", NOBODY, 302, 200, id="people are sent to log in"),
        pytest.param("/login", NOBODY, 200, 200, id="where they read that nobody can"),
        pytest.param("/api/nothing", ADMIN, 404, 404, id="what is not there is not there"),
    ],
)
def test_who_may_what(home, path, who, closed, open_to_visitors):
    change(home / SOURCES, "datasources", url="http://127.0.0.1:9")
    seen = [
        ask(grafana(home, GF_AUTH_ANONYMOUS_ENABLED=visitors), path, headers=who).status
        for visitors in ("false", "true")
    ]
    assert seen == [closed, open_to_visitors]


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
    said = ask(grafana(home, GATEWAY), path)
    assert said.status == status
    assert said.headers.get("Location", f"http://{GATEWAY}/grafana/").startswith(f"http://{GATEWAY}/grafana/")


def test_a_dashboard_is_told_as_its_file_has_it(home):
    found = ask(grafana(home), "/api/dashboards/uid/aicluster-node", headers=ADMIN).json()
    assert found["dashboard"] == json.loads((home / "dashboards/node.json").read_text())


def test_a_question_is_passed_on_as_it_is_without_the_login(home):
    asked = []

    async def prometheus(request: web.Request) -> web.Response:
        asked.append((str(request.rel_url), request.headers.get("Authorization")))
        return web.json_response([1])

    behind = web.Application()
    behind.router.add_get("/{path:.*}", prometheus)
    with listening(behind) as url:
        change(home / SOURCES, "datasources", url=url)
        assert ask(grafana(home), f"{PROXY}?query=sum(up)%2B1", headers=ADMIN).json() == [1]
    assert asked == [("/api/v1/query?query=sum(up)%2B1", None)]


def test_a_new_password_in_the_environment_changes_nothing_after_the_first_start(home):
    for more in ({}, {"GF_SECURITY_ADMIN_PASSWORD": "new"}):
        assert ask(grafana(home, OPERATORS, **more), "/api/user", headers=ADMIN).status == 200


def test_the_command_line_changes_it_while_the_server_runs(home, monkeypatch):
    async def conversation(client):
        before = (await client.get("/api/user", headers=WRONG)).status
        monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
        monkeypatch.setattr("os.environ", {"GF_PATHS_DATA": str(home / "data")})
        words = "cli --homepath /x --config /y admin reset-admin-password --password-from-stdin"
        command_line.main(words.split())
        return before, (await client.get("/api/user", headers=WRONG)).status

    assert talk(grafana(home), conversation) == (401, 200)
    assert not any("wrong" in path.read_text() for path in (home / "data").iterdir()), "kept as a hash"


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit, match="usage: grafana"):
        command_line.main(["cli", "plugins", "install", "x"])


def test_a_lost_database_is_told(home):
    application = grafana(home)
    (home / "data/grafana-stand-in.json").unlink()
    said = ask(application, "/api/health")
    assert (said.status, said.json()) == (503, {"database": "failing"})
