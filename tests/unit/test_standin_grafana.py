"""The stand-in for Grafana refuses what Grafana would, and what it would not heed itself."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from standing_in import GATEWAY, PASSWORD, ask, grafana, provisioned, talk
from standins.grafana.grafana_standin import __main__ as command_line
from standins.grafana.grafana_standin.provisioning import ProvisioningError
from standins.grafana.grafana_standin.settings import settings_of

PROXY = "/api/datasources/proxy/uid/prometheus/api/v1/query"


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()}


ADMIN, WRONG, NOBODY = basic(PASSWORD), basic("wrong"), dict[str, str]()


@pytest.fixture
def home(tmp_path):
    return provisioned(tmp_path)


def change(home: Path, key: str, **changed: Any) -> None:
    """Change the first entry of a provisioning file."""
    path = home / f"provisioning/{'datasources' if key == 'datasources' else 'dashboards'}/all.yml"
    content = yaml.safe_load(path.read_text())
    content[key][0].update(changed)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("GF_SERVER_ENABLE_GZIPP", "false", id="a setting nobody has heard of"),
        pytest.param("GF_SECURITY_ADMIN_PASSWORD__FILE", "/x", id="one that only the image's run.sh knows"),
    ],
)
def test_a_wrong_setting_ends_the_start(name, value):
    with pytest.raises(ValueError, match=name):
        settings_of({name: value})


@pytest.mark.parametrize(
    ("key", "changed", "message"),
    [
        pytest.param("datasources", {"uid": "no spaces"}, "invalid format of UID", id="a bad uid"),
        pytest.param("datasources", {"uid": "alertmanager"}, "the same data source uid", id="a uid twice"),
        pytest.param("datasources", {"url": "pi51:9090"}, "invalid url", id="a bad address"),
        pytest.param("datasources", {"basicAuth": True}, "basicAuth: not known", id="what it would not heed"),
        pytest.param("providers", {"options": {}}, "wants path alone", id="a provider without a path"),
    ],
)
def test_a_broken_provisioning_file_ends_the_start(home, key, changed, message):
    change(home, key, **changed)
    with pytest.raises(ProvisioningError, match=message):
        grafana(home)


@pytest.mark.parametrize(
    ("content", "said", "others"),
    [
        pytest.param('{"uid": "x"}', "title cannot be empty", True, id="without a title"),
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
        pytest.param("/api/user", WRONG, 401, 401, id="a wrong password does not open"),
        pytest.param("/api/user", NOBODY, 401, 401, id="a visitor is nobody"),
        pytest.param("/api/search?type=dash-db", NOBODY, 401, 200, id="but sees dashboards"),
        pytest.param("/api/search?type=dash-db", WRONG, 401, 401, id="unless with a wrong password"),
        pytest.param("/api/datasources", NOBODY, 401, 403, id="and does not see data sources"),
        pytest.param(PROXY, NOBODY, 401, 502, id="a visitor may ask a data source, which is away"),
        pytest.param("/api/health", NOBODY, 200, 200, id="health is for everybody"),
        pytest.param("/", NOBODY, 302, 200, id="people are sent to log in"),
    ],
)
def test_who_may_what(home, path, who, closed, open_to_visitors):
    change(home, "datasources", url="http://127.0.0.1:9")
    seen = [
        ask(grafana(home, GF_AUTH_ANONYMOUS_ENABLED=visitors), path, headers=who).status
        for visitors in ("false", "true")
    ]
    assert seen == [closed, open_to_visitors]


@pytest.mark.parametrize(
    ("path", "status"), [("/grafana/nothing", 404), ("/api/health", 301), ("/grafana", 301)]
)
def test_a_grafana_below_a_path_sends_everybody_there(home, path, status):
    said = ask(grafana(home, GATEWAY), path)
    assert said.status == status
    assert said.headers.get("Location", f"http://{GATEWAY}/grafana/").startswith(f"http://{GATEWAY}/grafana/")


def test_only_the_command_line_changes_the_password_after_the_first_start(home, monkeypatch):
    async def conversation(client):
        before = (await client.get("/api/user", headers=WRONG)).status
        monkeypatch.setattr(sys, "stdin", io.StringIO("wrong\n"))
        monkeypatch.setattr("os.environ", {"GF_PATHS_DATA": str(home / "data")})
        words = "cli --homepath /x --config /y admin reset-admin-password --password-from-stdin"
        command_line.main(words.split())
        return before, (await client.get("/api/user", headers=WRONG)).status

    grafana(home)
    again = grafana(home, GF_SECURITY_ADMIN_PASSWORD="wrong")
    assert talk(again, conversation) == (401, 200)
