"""The stand-in for PostgREST keeps the rules of the real one that this project relies on."""

import asyncio
import json

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standins.postgrest.postgrest_standin.api import (
    ApiError,
    AuthenticationError,
    Function,
    LostError,
    Read,
    Schema,
    database_error,
    read,
)
from standins.postgrest.postgrest_standin.config import Config
from standins.postgrest.postgrest_standin.server import Admin, Api, State

SCHEMA = Schema(
    "api",
    frozenset({"health", "hidden"}),
    (
        Function("api", "take", whole_body="json", void=True),
        Function("api", "add", ("a",), ("b",), {"a": "integer", "b": "integer"}),
    ),
)


class Memory:
    """The database without PostgreSQL; `lost` is one that does not answer."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.asked: list[object] = []
        self.said: list[str] = [""]
        self.current = SCHEMA

    def ask(self, what: object) -> None:
        self.asked.append(what)
        if self.problem:
            raise self.problem

    async def schema(self):
        self.ask("schema")
        return self.current

    async def changes(self):
        for said in self.said:
            yield said
        raise self.problem or LostError("gone")

    async def rows(self, wanted):
        self.ask(wanted)
        if wanted.relation == "hidden":
            raise database_error("42501", "permission denied for view hidden")
        return '[{"database":"aicluster"}]'

    async def call(self, called, body):
        self.ask((called.name, body))
        return None if called.void else "42"


def ask(method, path, *, store=None, loaded=True, admin=False, connected=True, **more):
    """Return status, headers and text of one request."""

    async def run():
        used = store or Memory()
        state = State(used)
        state.schema, state.connected = (SCHEMA if loaded else None), connected
        application = Admin(state).application() if admin else Api(used, state, 100).application()
        async with TestClient(TestServer(application)) as client:
            answer = await client.request(method, path, **more)
            return answer.status, answer.headers, await answer.text()

    return asyncio.run(run())


def test_rows_are_asked_for_with_columns_filters_and_a_limit():
    store = Memory()
    status, headers, text = ask("GET", "/health?select=database,time&database=eq.a.b&limit=5", store=store)
    assert (status, headers["Content-Range"], json.loads(text)) == (200, "0-0/*", [{"database": "aicluster"}])
    assert store.asked == [Read("health", ("database", "time"), (("database", "a.b"),), 5, 0)]


@pytest.mark.parametrize(("query", "limit"), [("", 100), ("?limit=5", 5), ("?limit=5000", 100)])
def test_no_answer_is_longer_than_the_configuration_lets_it_be(query, limit):
    store = Memory()
    ask("GET", f"/health{query}", store=store)
    assert store.asked == [Read("health", limit=limit)]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        pytest.param("GET", "/pg_roles", None, 404, "PGRST205", id="a relation outside the schema"),
        pytest.param("GET", "/hidden", None, 401, "42501", id="a relation nobody granted"),
        pytest.param("GET", "/health?a=lt.1", None, 400, "PGRST100", id="a filter that is not known"),
        pytest.param("GET", "/health?limit=-1", None, 400, "PGRST100", id="a limit that is none"),
        pytest.param("GET", "/health?select=a(b)", None, 400, "PGRST100", id="columns of another relation"),
        pytest.param("GET", "/a/b", None, 404, "PGRST125", id="a path that is none"),
        pytest.param(
            "POST", "/health", b"{}", 501, "STANDIN", id="writing, which the stand-in does not know"
        ),
        pytest.param("POST", "/rpc/none", b"{}", 404, "PGRST202", id="a function that is none"),
        pytest.param("POST", "/rpc/add", b"{}", 404, "PGRST202", id="a parameter that lacks"),
        pytest.param("POST", "/rpc/add", b'{"a":1,"c":1}', 404, "PGRST202", id="a parameter too many"),
        pytest.param("POST", "/rpc/add", b"{", 400, "PGRST102", id="no JSON"),
        pytest.param("GET", "/rpc/add?a=1", None, 405, "PGRST101", id="a call by GET"),
    ],
)
def test_an_error_has_a_status_and_four_fields(method, path, body, status, code):
    found, headers, text = ask(method, path, data=body)
    assert (found, json.loads(text)["code"]) == (status, code)
    assert set(json.loads(text)) == {"code", "details", "hint", "message"}
    assert headers["Server"].startswith("postgrest-stand-in/")


def test_a_caller_with_a_token_is_not_served_as_a_stranger():
    status, _, text = ask("GET", "/health", headers={"Authorization": "Bearer x.y.z"})
    assert (status, json.loads(text)["code"]) == (500, "PGRST300")


def test_an_anonymous_role_that_is_missing_is_401():
    assert database_error("22023", 'role "web_anon" does not exist').status == 401


def test_a_name_that_is_nearly_right_gets_a_hint():
    text = ask("GET", "/helth")[2]
    assert json.loads(text)["hint"] == "Perhaps you meant the table 'api.health'"


@pytest.mark.parametrize(
    ("path", "body", "called", "status", "text"),
    [
        pytest.param("/rpc/add", {"a": 1}, ("add", {"a": 1}), 200, "42", id="by names"),
        pytest.param("/rpc/take", [{"b": 2}], ("take", [{"b": 2}]), 204, "", id="the body whole, no result"),
    ],
)
def test_a_function_is_called(path, body, called, status, text):
    store = Memory()
    found = ask("POST", path, store=store, json=body)
    assert (found[0], found[2], store.asked) == (status, text, [called])


def test_a_lost_database_is_503_and_says_when_to_come_back():
    status, headers, text = ask("GET", "/health", store=Memory(LostError("refused")))
    assert (status, headers["Retry-After"], json.loads(text)["code"]) == (503, "1", "PGRST000")


def test_before_the_schema_is_known_everything_is_503():
    status, _, text = ask("GET", "/health", loaded=False)
    assert (status, json.loads(text)["code"]) == (503, "PGRST002")


@pytest.mark.parametrize(
    ("loaded", "connected", "status"), [(True, True, 200), (False, True, 503), (True, False, 503)]
)
def test_ready_is_connected_with_a_schema(loaded, connected, status):
    found = [
        ask("GET", path, admin=True, loaded=loaded, connected=connected)[0] for path in ("/ready", "/live")
    ]
    assert found == [status, 200]


def test_metrics_count_loads():
    assert 'pgrst_schema_cache_loads_total{status="SUCCESS"} 0' in ask("GET", "/metrics", admin=True)[2]


@pytest.mark.parametrize(
    ("said", "loads"),
    [([""], 1), (["", "reload schema"], 2), (["", "reload config"], 1)],
    ids=["once at first", "again when told", "not when told something else"],
)
def test_the_schema_is_read(said, loads):
    store = Memory()
    store.said = said
    state = State(store)
    with pytest.raises(LostError):
        asyncio.run(state.follow())
    assert store.asked == ["schema"] * loads
    assert (state.schema, state.connected) == (SCHEMA, False)


def test_it_waits_longer_and_longer_for_a_database_that_is_away(monkeypatch):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        if len(waited) > 7:
            raise KeyboardInterrupt

    monkeypatch.setattr("standins.postgrest.postgrest_standin.server.asyncio.sleep", sleep)
    store = Memory(LostError("refused"))
    store.said = []
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(State(store).keep())
    assert waited == [1, 2, 4, 8, 16, 32, 32, 32]


def test_it_ends_at_a_wrong_password():
    store = Memory(AuthenticationError("password authentication failed"))
    store.said = []
    with pytest.raises(AuthenticationError):
        asyncio.run(State(store).keep())


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("42501", 401),
        ("42703", 400),
        ("42P01", 404),
        ("23505", 409),
        ("57014", 500),
        ("57P01", 503),
        ("XX000", 500),
    ],
)
def test_errors_of_the_database_have_the_status_postgrest_gives_them(state, status):
    assert database_error(state, "x").status == status


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ('db-schema-s = "api"', "is no setting of PostgREST"),
        ("server-port = 30x", "cannot be read"),
        ("server-port = [1]", "cannot be read"),
        ("nothing", "is no setting"),
        ("server-port = 3001\nadmin-server-port = 3001", "cannot be the same"),
        ('log-level = "loud"', "Invalid logging level"),
        ('db-schemas = "api, pg_catalog"', "does not allow schema"),
    ],
)
def test_a_configuration_with_a_mistake_is_refused(line, refusal):
    with pytest.raises(ValueError, match=refusal):
        Config.of(f"# comment\n{line}\n")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("admin-server-port = 3001", "server-host is configured"),
        ('server-host = "0.0.0.0"', "Admin server is not running"),
    ],
)
def test_its_own_health_check_says_why_it_cannot_ask(text, answer):
    with pytest.raises(ValueError, match=answer):
        Config.of(text).ready_url()


def test_the_password_is_not_shown():
    assert "secret" not in repr(Config.of('db-uri = "postgresql://a:secret@b/c"'))


def test_a_star_selects_everything():
    assert read("health", [("select", "*")], None) == Read("health")


def test_errors_are_exceptions_that_say_what_they_are():
    assert str(ApiError(404, "X", "not there")) == "not there"
