"""The stand-in for PostgREST keeps the rules of the real one that this project relies on."""

import asyncio

import pytest
import render
from standing_in import Relations, ask, postgrest
from standins.postgrest.postgrest_standin.api import AuthenticationError, LostError, database_error
from standins.postgrest.postgrest_standin.config import Config
from standins.postgrest.postgrest_standin.server import State

CONF = "/opt/aicluster/postgrest/secrets/postgrest.conf"
TOKEN = {"Authorization": "Bearer x.y"}


@pytest.mark.parametrize(
    ("server", "path", "headers", "status", "code"),
    [
        pytest.param({}, "/pg_roles", {}, 404, "PGRST205", id="a relation outside the schema"),
        pytest.param({}, "/hidden", {}, 401, "42501", id="a relation nobody granted"),
        pytest.param({}, "/health?limit=1", {}, 501, "STANDIN", id="what the stand-in would not heed"),
        pytest.param({}, "/health", TOKEN, 500, "PGRST300", id="a caller with a token"),
        pytest.param({"problem": LostError("x")}, "/health", {}, 503, "PGRST000", id="a lost database"),
        pytest.param({"schema": None}, "/health", {}, 503, "PGRST002", id="before the schema is known"),
    ],
)
def test_an_error_has_a_status_and_four_fields(server, path, headers, status, code):
    said = ask(postgrest(**server)["api"], path, headers=headers)
    assert (said.status, said.json()["code"]) == (status, code)
    assert set(said.json()) == {"code", "details", "hint", "message"}


@pytest.mark.parametrize(
    ("state", "status"),
    [({}, 200), ({"schema": None}, 503), ({"connected": False}, 503)],
    ids=["connected, with a schema", "without a schema", "not connected"],
)
def test_ready_is_connected_with_a_schema(state, status):
    assert ask(postgrest(**state)["admin"], "/ready").status == status


@pytest.mark.parametrize(
    ("said", "loads"),
    [([""], 1), (["", "reload schema"], 2), (["", "reload config"], 1)],
    ids=["once at first", "again when told", "not when told something else"],
)
def test_the_schema_is_read(said, loads):
    store = Relations(said=said)
    with pytest.raises(LostError):
        asyncio.run(State(store).follow())
    assert store.read == loads


def test_it_ends_at_a_wrong_password():
    with pytest.raises(AuthenticationError):
        asyncio.run(State(Relations(AuthenticationError("wrong"), said=[])).keep())


def test_a_role_that_is_missing_lets_nobody_in():
    assert database_error("22023", 'role "web_anon" does not exist').status == 401


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ('jwt-secret = "x"', "no setting this stand-in knows"),
        ("server-port = 30x", "cannot be read"),
        ("server-port = 3001", "cannot be the same"),
        ('log-level = "loud"', "Invalid logging level"),
        ('server-host = "!4"', "cannot ask"),
    ],
)
def test_a_mistake_in_the_shipped_configuration_is_refused(line, refusal):
    shipped = render.render_role("postgrest")[CONF]
    assert Config.of(shipped)
    with pytest.raises(ValueError, match=refusal):
        Config.of(f"{shipped}\n{line}\n")
