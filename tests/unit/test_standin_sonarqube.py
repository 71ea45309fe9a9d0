"""The stand-in for SonarQube keeps the rules of the real one that this project relies on."""

import asyncio
import base64

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standins.sonarqube.sonarqube_standin.properties import Database, properties
from standins.sonarqube.sonarqube_standin.server import Api
from standins.sonarqube.sonarqube_standin.store import DELIVERED, DatabaseError, hashed, weakness

NEW = "A-new-Password-1"


def basic(login: str, password: str) -> dict[str, str]:
    """The header of basic authentication."""
    return {"Authorization": f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"}


ADMIN = basic("admin", DELIVERED)
PASSCODE = "open"


class Memory:
    """The store without PostgreSQL; `lost` is a database that does not answer."""

    def __init__(self) -> None:
        self.secrets = {"admin": hashed(DELIVERED, b"0" * 16)}
        self.kept: dict[str, str] = {}
        self.lost = False

    async def ping(self) -> None:
        if self.lost:
            raise DatabaseError("connection refused")

    async def secret_of(self, login: str) -> bytes | None:
        await self.ping()
        return self.secrets.get(login)

    async def keep_secret(self, login: str, secret: bytes) -> None:
        self.secrets[login] = secret

    async def projects(self) -> dict[str, str]:
        await self.ping()
        return self.kept

    async def add_project(self, key: str, name: str) -> bool:
        new = key not in self.kept
        self.kept.setdefault(key, name)
        return new

    async def delete_project(self, key: str) -> bool:
        return self.kept.pop(key, None) is not None


def talk(conversation, store=None):
    """Run a conversation with a stand-in; return what it returns."""

    async def run():
        api = Api(store or Memory(), PASSCODE)
        async with TestClient(TestServer(api.application())) as client:
            return await conversation(client)

    return asyncio.run(run())


@pytest.mark.parametrize(("lost", "state"), [(False, "UP"), (True, "DOWN")])
def test_its_status_is_that_of_its_database(lost, state):
    store = Memory()
    store.lost = lost

    async def conversation(client):
        return await (await client.get("/api/system/status")).text()

    assert f'"status":"{state}"' in talk(conversation, store), "as the health check looks for it: no spaces"


@pytest.mark.parametrize(
    ("auth", "valid"),
    [
        pytest.param(ADMIN, True, id="as delivered"),
        pytest.param(basic("admin", "wrong"), False, id="a wrong password"),
        pytest.param(basic("nobody", DELIVERED), False, id="an unknown user"),
        pytest.param(None, False, id="nobody"),
    ],
)
def test_credentials_are_validated_with_a_200(auth, valid):
    async def conversation(client):
        answer = await client.get("/api/authentication/validate", headers=auth)
        return answer.status, await answer.json()

    assert talk(conversation) == (200, {"valid": valid})


def test_a_changed_password_counts_at_once_and_the_old_one_no_longer():
    async def conversation(client):
        body = {"login": "admin", "previousPassword": DELIVERED, "password": NEW}
        changed = await client.post("/api/users/change_password", data=body, headers=ADMIN)
        valid = [
            (await (await client.get("/api/authentication/validate", headers=auth)).json())["valid"]
            for auth in (ADMIN, basic("admin", NEW))
        ]
        return changed.status, valid

    assert talk(conversation) == (204, [False, True])


@pytest.mark.parametrize(
    ("auth", "old", "new", "status"),
    [
        pytest.param(None, DELIVERED, NEW, 401, id="without a login"),
        pytest.param(ADMIN, "wrong", NEW, 400, id="a wrong previous password"),
        pytest.param(ADMIN, DELIVERED, DELIVERED, 400, id="the same password again"),
        pytest.param(ADMIN, DELIVERED, "Short-1", 400, id="a short password"),
    ],
)
def test_a_password_is_not_changed_for(auth, old, new, status):
    async def conversation(client):
        body = {"login": "admin", "previousPassword": old, "password": new}
        return (await client.post("/api/users/change_password", data=body, headers=auth)).status

    assert talk(conversation) == status


@pytest.mark.parametrize(
    ("password", "good"),
    [
        (NEW, True),
        ("elevenchars", False),
        ("no-capital-letter-1", False),
        ("NO-SMALL-LETTER-1", False),
        ("No-digit-at-all", False),
        ("Noothersign12345", False),
    ],
)
def test_a_new_password_needs_twelve_characters_of_four_classes(password, good):
    assert (weakness(password) == "") is good


def test_a_project_is_made_found_and_deleted():
    async def conversation(client):
        made = await client.post("/api/projects/create", data={"project": "k", "name": "N"}, headers=ADMIN)
        again = await client.post("/api/projects/create", data={"project": "k", "name": "O"}, headers=ADMIN)
        found = await (
            await client.get("/api/projects/search", params={"projects": "k"}, headers=ADMIN)
        ).json()
        gone = [
            (await client.post("/api/projects/delete", data={"project": "k"}, headers=ADMIN)).status
            for _ in "12"
        ]
        return made.status, again.status, [one["key"] for one in found["components"]], gone

    assert talk(conversation) == (200, 400, ["k"], [204, 404])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/projects/search"), ("POST", "/api/projects/create"), ("POST", "/api/projects/delete")],
)
def test_projects_are_for_those_who_logged_in(method, path):
    async def conversation(client):
        return (await client.request(method, path)).status

    assert talk(conversation) == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Authorization": f"Bearer {PASSCODE}"}, 200, id="as bearer, as Prometheus shows it"),
        pytest.param({"X-Sonar-Passcode": PASSCODE}, 200, id="in SonarQube's own header"),
        pytest.param({"Authorization": "Bearer wrong"}, 403, id="a wrong one"),
        pytest.param({}, 403, id="none"),
    ],
)
def test_metrics_are_for_those_who_show_the_passcode(headers, status):
    async def conversation(client):
        answer = await client.get("/api/monitoring/metrics", headers=headers)
        return answer.status, await answer.text()

    found, text = talk(conversation)
    assert found == status
    assert ("sonarqube_health_web_status 1.0" in text) is (status == 200)


def test_calls_that_need_the_database_fail_while_it_is_lost():
    store = Memory()
    store.lost = True

    async def conversation(client):
        return (await client.get("/api/projects/search", headers=ADMIN)).status

    assert talk(conversation, store) == 500


# --- settings ---


def test_settings_are_read_as_java_reads_them():
    text = "# comment\n! comment\na=1\nb = x=y\n\nc: d\npassword=one\\\\two\\=\nempty=\n"
    found = {"a": "1", "b": "x=y", "c": "d", "password": "one\\two=", "empty": ""}
    assert properties(text) == found


def test_the_database_is_the_one_of_the_settings():
    settings = {
        "sonar.jdbc.url": "jdbc:postgresql://192.0.2.1:5433/sonarqube",
        "sonar.jdbc.username": "sonarqube",
        "sonar.jdbc.password": "pw",
    }
    assert Database.of(settings) == Database("192.0.2.1", 5433, "sonarqube", "sonarqube", "pw")
    assert "pw" not in repr(Database.of(settings))


def test_another_database_is_refused():
    with pytest.raises(ValueError, match="PostgreSQL"):
        Database.of({"sonar.jdbc.url": "jdbc:h2:mem:sonar"})
