"""The stand-in for SonarQube keeps the rules of the real one that this project relies on."""

import base64

import pytest
from standing_in import PASSCODE, PASSWORD, Users, ask, sonarqube, talk
from standins.sonarqube.sonarqube_standin.properties import Database, properties
from standins.sonarqube.sonarqube_standin.store import DELIVERED, weakness

VALIDATE, CHANGE = "/api/authentication/validate", "/api/users/change_password"


def basic(login: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"}


ADMIN, NEW = (
    basic("admin", DELIVERED),
    {"login": "admin", "previousPassword": DELIVERED, "password": PASSWORD},
)


@pytest.mark.parametrize(("lost", "state"), [(False, "UP"), (True, "DOWN")])
def test_its_status_is_that_of_its_database(lost, state):
    said = ask(sonarqube(Users(lost=lost)), "/api/system/status")
    assert f'"status":"{state}"' in said.text, "as the health check looks for it: no spaces"


def test_a_lost_database_fails_what_needs_it():
    assert ask(sonarqube(Users(lost=True)), VALIDATE, headers=ADMIN).status == 500


@pytest.mark.parametrize(
    ("auth", "valid"),
    [
        pytest.param(ADMIN, "true", id="as delivered"),
        pytest.param(basic("admin", "wrong"), "false", id="a wrong password"),
        pytest.param(basic("nobody", DELIVERED), "false", id="an unknown user"),
        pytest.param({}, "false", id="nobody"),
    ],
)
def test_credentials_are_validated_with_a_200(auth, valid):
    said = ask(sonarqube(Users(DELIVERED)), VALIDATE, headers=auth)
    assert (said.status, said.text) == (200, f'{{"valid":{valid}}}')


def test_a_changed_password_counts_at_once_and_the_old_one_no_longer():
    async def conversation(client):
        changed = await client.post(CHANGE, data=NEW, headers=ADMIN)
        asked = [await client.get(VALIDATE, headers=auth) for auth in (ADMIN, basic("admin", PASSWORD))]
        return changed.status, [(await answer.json())["valid"] for answer in asked]

    assert talk(sonarqube(Users(DELIVERED)), conversation) == (204, [False, True])


@pytest.mark.parametrize(
    ("auth", "wrong", "status"),
    [
        pytest.param({}, {}, 401, id="without a login"),
        pytest.param(ADMIN, {"previousPassword": "wrong"}, 400, id="a wrong previous password"),
        pytest.param(ADMIN, {"password": "Short-1"}, 400, id="a weak password"),
    ],
)
def test_a_password_is_not_changed_for(auth, wrong, status):
    assert ask(sonarqube(Users(DELIVERED)), CHANGE, "POST", data=NEW | wrong, headers=auth).status == status


@pytest.mark.parametrize(
    ("password", "lacks"),
    [
        (PASSWORD, ""),
        ("elevenchars", "12 characters"),
        ("no-capital-letter-1", "uppercase"),
        ("NO-SMALL-LETTER-1", "lowercase"),
        ("No-digit-at-all", "digit"),
        ("Noothersign12345", "special"),
    ],
)
def test_a_new_password_needs_twelve_characters_of_four_classes(password, lacks):
    assert lacks in weakness(password) and bool(weakness(password)) is bool(lacks)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/api/projects/create", 400, id="a project there is already"),
        pytest.param("POST", "/api/projects/delete", 404, id="one there never was"),
        pytest.param("GET", "/api/projects/search?q=k", 400, id="a search it does not know"),
    ],
)
def test_what_cannot_be_done_is_refused_and_strangers_do_nothing(method, path, status):
    store = Users()
    store.kept["k"] = "N"
    data = {"project": "k" if path.endswith("create") else "another", "name": "N"}
    for auth, expected in ((basic("admin", PASSWORD), status), ({}, 401)):
        assert ask(sonarqube(store), path, method, data=data, headers=auth).status == expected


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


def test_the_password_of_the_database_is_not_shown():
    assert "pw" not in repr(Database("192.0.2.1", 5433, "sonarqube", "sonarqube", "pw"))
