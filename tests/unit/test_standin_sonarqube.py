"""The stand-in for SonarQube keeps the rules of the real one that this project relies on."""

import base64

import pytest
from standing_in import PASSCODE, PASSWORD, Users, ask, sonarqube
from standins.sonarqube.sonarqube_standin.properties import Database, properties
from standins.sonarqube.sonarqube_standin.store import DELIVERED

VALIDATE, CHANGE = "/api/authentication/validate", "/api/users/change_password"
NEW = {"login": "admin", "previousPassword": DELIVERED, "password": PASSWORD}


def basic(login: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"}


ADMIN = basic("admin", DELIVERED)


@pytest.mark.parametrize(("lost", "state", "status"), [(False, "UP", 200), (True, "DOWN", 500)])
def test_its_status_is_that_of_its_database(lost, state, status):
    said = ask(sonarqube(Users(lost=lost)), "/api/system/status")
    assert f'"status":"{state}"' in said.text, "as the health check looks for it: no spaces"
    assert ask(sonarqube(Users(lost=lost)), VALIDATE, headers=ADMIN).status == status


@pytest.mark.parametrize(
    ("auth", "valid"),
    [
        pytest.param(ADMIN, "true", id="as delivered"),
        pytest.param(basic("admin", "wrong"), "false", id="a wrong password"),
        pytest.param({}, "false", id="nobody"),
    ],
)
def test_credentials_are_validated_with_a_200(auth, valid):
    said = ask(sonarqube(Users(DELIVERED)), VALIDATE, headers=auth)
    assert (said.status, said.text) == (200, f'{{"valid":{valid}}}')


@pytest.mark.parametrize(
    ("auth", "wrong", "status"),
    [
        pytest.param(ADMIN, {}, 204, id="changed"),
        pytest.param({}, {}, 401, id="without a login"),
        pytest.param(ADMIN, {"previousPassword": "wrong"}, 400, id="a wrong previous password"),
        pytest.param(ADMIN, {"password": "Short-1"}, 400, id="fewer than twelve characters"),
        pytest.param(ADMIN, {"password": "No-digit-at-all"}, 400, id="without one of four classes"),
    ],
)
def test_a_password_is_changed_by_its_owner_to_a_strong_one(auth, wrong, status):
    assert ask(sonarqube(Users(DELIVERED)), CHANGE, "POST", data=NEW | wrong, headers=auth).status == status


@pytest.mark.parametrize(
    ("shown", "status"),
    [(f"Bearer {PASSCODE}", 200), ("Bearer wrong", 403), ("", 403)],
    ids=["the passcode", "a wrong one", "none"],
)
def test_metrics_are_for_those_who_show_the_passcode(shown, status):
    said = ask(sonarqube(), "/api/monitoring/metrics", headers={"Authorization": shown})
    assert said.status == status


def test_settings_are_read_as_java_reads_them():
    text = "# comment\n! comment\na=1\nb = x=y\n\nc: d\npassword=one\\\\two\\=\nempty=\n"
    found = {"a": "1", "b": "x=y", "c": "d", "password": "one\\two=", "empty": ""}
    assert properties(text) == found


def test_another_database_is_refused():
    with pytest.raises(ValueError, match="PostgreSQL"):
        Database.of({"sonar.jdbc.url": "jdbc:h2:mem:sonar"})
