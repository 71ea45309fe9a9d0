"""The stand-in for PostgREST keeps the rules of the real one that this project relies on."""

import asyncio

import pytest
import render
from standing_in import Relations, ask, postgrest
from standins.postgrest.postgrest_standin.api import AuthenticationError, LostError, database_error
from standins.postgrest.postgrest_standin.config import Config
from standins.postgrest.postgrest_standin.server import State

CONF = "/opt/aicluster/postgrest/secrets/postgrest.conf"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/pg_roles", 404, "PGRST205", id="a relation outside the schema"),
        pytest.param("GET", "/hidden", 401, "42501", id="a relation nobody granted"),
        pytest.param("GET", "/health?limit=1", 501, "STANDIN", id="a choice of rows"),
        pytest.param("POST", "/health", 501, "STANDIN", id="writing"),
        pytest.param("POST", "/rpc/add", 501, "STANDIN", id="a function"),
        pytest.param("GET", "/", 501, "STANDIN", id="a description of all"),
    ],
)
def test_an_error_has_a_status_and_four_fields(method, path, status, code):
    said = ask(postgrest()["api"], path, method)
    assert (said.status, said.json()["code"]) == (status, code)
    assert set(said.json()) == {"code", "details", "hint", "message"}


@pytest.mark.parametrize(
    ("server", "headers", "status", "code"),
    [
        pytest.param({}, {"Authorization": "Bearer x.y"}, 500, "PGRST300", id="a caller with a token"),
        pytest.param({"problem": LostError("refused")}, {}, 503, "PGRST000", id="a lost database"),
        pytest.param({"schema": None}, {}, 503, "PGRST002", id="before the schema is known"),
    ],
)
def test_nobody_is_served_for(server, headers, status, code):
    said = ask(postgrest(**server)["api"], "/health", headers=headers)
    assert (said.status, said.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("state", "status"),
    [({}, 200), ({"schema": None}, 503), ({"connected": False}, 503)],
    ids=["connected, with a schema", "without a schema", "not connected"],
)
def test_ready_is_connected_with_a_schema(state, status):
    assert ask(postgrest(**state)["admin"], "/ready").status == status


def test_the_admin_server_tells_what_it_knows_of_the_schema():
    assert ask(postgrest()["admin"], "/schema_cache").json() == ["health", "hidden"]


@pytest.mark.parametrize(
    ("said", "loads"),
    [([""], 1), (["", "reload schema"], 2), (["", "reload config"], 1)],
    ids=["once at first", "again when told", "not when told something else"],
)
def test_the_schema_is_read(said, loads):
    store = Relations(said=said)
    state = State(store)
    with pytest.raises(LostError):
        asyncio.run(state.follow())
    assert (store.read, state.connected) == (loads, False)


def test_it_waits_longer_and_longer_for_a_database_that_is_away(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        if len(waited) > 7:
            raise KeyboardInterrupt

    monkeypatch.setattr("standins.postgrest.postgrest_standin.server.asyncio.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(State(Relations(said=[])).keep())
    assert waited == [1, 2, 4, 8, 16, 32, 32, 32]


def test_it_ends_at_a_wrong_password():
    with pytest.raises(AuthenticationError):
        asyncio.run(State(Relations(AuthenticationError("wrong"), said=[])).keep())


@pytest.mark.parametrize(
    ("state", "message", "status"),
    [
        pytest.param("42501", "permission denied", 401, id="a right that was not granted"),
        pytest.param("22023", 'role "web_anon" does not exist', 401, id="an anonymous role that is missing"),
        pytest.param("42P01", "relation does not exist", 404, id="a view that went without a word"),
        pytest.param("XX000", "internal", 500, id="anything else"),
    ],
)
def test_errors_of_the_database_have_the_status_postgrest_gives_them(state, message, status):
    assert database_error(state, message).status == status


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ('db-schema-s = "api"', "no setting this stand-in knows"),
        ('jwt-secret = "x"', "no setting this stand-in knows"),
        ("nothing", "no setting"),
        ("server-port = 30x", "cannot be read"),
        ('server-port = "3000"', "cannot be read"),
        ("server-port = 3001", "cannot be the same"),
        ('log-level = "loud"', "Invalid logging level"),
        ('db-schemas = "api, more"', "one schema"),
        ("db-config = true", "no settings in the database"),
        ('server-host = "!4"', "cannot ask"),
    ],
)
def test_a_mistake_in_the_shipped_configuration_is_refused(line, refusal):
    shipped = render.render_role("postgrest")[CONF]
    assert Config.of(shipped)
    with pytest.raises(ValueError, match=refusal):
        Config.of(f"{shipped}\n{line}\n")


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"db-anon-role, .*: this stand-in has no default"):
        Config.of("server-port = 3000")


def test_the_password_is_not_shown():
    shipped = render.render_role("postgrest")[CONF]
    assert render.made_up_secrets()["postgrest_db_password"] not in repr(Config.of(shipped))
