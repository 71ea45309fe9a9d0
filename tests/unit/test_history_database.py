"""What the database keeps, and whom it shows it: a real PostgreSQL with the migrations that ship."""

import base64
import json
import re
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any
from uuid import UUID, uuid4

import aicluster_usage
import gateway_lua
import pytest
import real_postgres
from a_kit import check_of, site
from programs import script
from real_postgres import Database
from tables import cases
from tree import ROOT

HOME = ROOT / "roles/postgres/templates/opt/aicluster/postgres"
FOREIGN = "11111111-1111-4111-8111-111111111111"


def migrate(database: Database, migrations: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of the program that ships, and what it says."""
    done = database.run(HOME / "migrate", *arguments, MIGRATIONS=str(migrations))
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with real_postgres.server() as database:
        database.sql("CREATE ROLE gateway NOLOGIN")
        assert migrate(database, HOME / "migrations")[0] == 0
        yield database


@pytest.fixture
def database(server: Database) -> Database:
    """The schema without content."""
    server.sql("TRUNCATE history.users, history.requests, history.ingest_errors CASCADE")
    server.sql("UPDATE history.settings SET keep_days = 0, expired_on = current_date")
    return server


def test_a_backup_counts_no_temporary_tables_which_other_sessions_cannot_read(database):
    query = runpy.run_path(str(HOME / "bin/backup"))["TABLES"]
    counted = database.sql(f"CREATE TEMPORARY TABLE passing (); {query}")
    assert "history.users|0|0" in counted and "passing" not in counted


def test_a_database_is_empty_until_somebody_says_something(database):
    empty = check_of("postgres").EMPTY
    database.sql("INSERT INTO history.users (consumer) VALUES ('ada')")
    assert database.sql(empty) == "t"
    said = "INSERT INTO history.conversations SELECT id, id, '', now(), now() FROM history.users"
    assert database.sql(f"{said}; {empty}") == "f"


@pytest.fixture
def usage(database: Database, tmp_path: Path, monkeypatch: Any) -> Callable[[], dict[str, list[int]]]:
    """User and model -> answers, tokens of prompts, tokens of answers, as the program that ships tells."""
    (tmp_path / "verify.json").write_text(json.dumps(site("PI52", {})))
    script(
        tmp_path / "docker",
        f'[ "$1" = ps ] && exec echo 1a; shift 3; PGHOST={database.folder} exec {database.programs}/"$@"',
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(aicluster_usage, "ROOT", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["", "60", "postgres"])

    def told() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for model, user, value in re.findall(r'model="(.*)",user="(.*)"} (.+)', aicluster_usage.look()):
            found.setdefault(f"{user} {model}", []).append(int(value))
        return found

    return told


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def entry(
    question: str | bytes = "Hello?", answer: str | bytes = "Hi!", who: str | None = "anna", **more: Any
) -> dict[str, Any]:
    """An entry of http-log: `request_id`, and members of the exchange, are given in `more`."""
    said: dict[str, Any] = {"kind": "chat", "role": "user", "question": encoded(question)}
    said |= {"answer": encoded(answer), "images": "", "question_whole": True, "whole": True}
    said |= {"before": "", "chain": uuid4().hex}
    request = {"id": more.pop("request_id", uuid4().hex)}
    consumer = {"consumer": {"username": who}} if who else {}
    times: dict[str, Any] = {"started_at": 1_800_000_000_000, "latencies": {"request": 12.5}}
    return {"request": request, **consumer, **times, "exchange": said | more}


def used(model: str | None, prompt: float | None, completion: float | None, **more: Any) -> dict[str, Any]:
    return entry(model=model, prompt_tokens=prompt, completion_tokens=completion, **more)


def ingest(database: Database, *entries: Any) -> None:
    """As PostgREST calls it for the gateway."""
    text = json.dumps(entries[0] if len(entries) == 1 else entries)
    database.sql(f"SET ROLE gateway; SELECT api.ingest($body${text}$body$);")


def asked(database: Database, who: str, call: str) -> Any:
    """What a function of the API answers a user; its status is None where it sets none."""
    headers = json.dumps({"x-consumer-username": who})
    answer, _, status = database.sql(
        f"""SET ROLE gateway; BEGIN; SELECT set_config('request.headers', :'headers', true) \\g /dev/null
        SELECT {call}; SELECT '--' || coalesce(current_setting('response.status', true), ''); COMMIT;""",
        headers=headers,
    ).rpartition("\n--")
    return status or None, json.loads(answer)


def conversations(database: Database, who: str = "anna") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(database, who, "api.history()")[1]["conversations"]
    return found


def messages(database: Database, who: str = "anna") -> list[dict[str, Any]]:
    """Those of the only conversation."""
    [one] = conversations(database, who)
    found: list[dict[str, Any]] = asked(database, who, f"api.history_one('{one['id']}')")[1]["messages"]
    return found


def errors(database: Database) -> str:
    return database.sql("SELECT reason FROM history.ingest_errors")


# --- migrations ---


def test_a_migration_is_applied_once_and_check_says_so_before(server, tmp_path):
    shutil.copytree(HOME / "migrations", tmp_path / "m")
    (tmp_path / "m/0099_more.sql").write_text("CREATE TABLE public.more ();")
    try:
        applies = [migrate(server, tmp_path / "m", *how) for how in (["--check"], [], [], ["--check"])]
        said = ["would apply migration 0099_more.sql", "changed: applied migration 0099_more.sql", "", ""]
        assert applies == [(0, one) for one in said]
    finally:
        server.sql("DROP TABLE public.more; DELETE FROM public.schema_migrations WHERE version = 99")


@cases(("name", "text", "says"), {
    "a file that was changed after it was applied": ("0001_history.sql", "SELECT 1;", "was changed after"),
    "two files with one number": ("0001_other.sql", "SELECT 1;", "its number must be greater than 1"),
    "a file that fails half way": ("0098_x.sql", "CREATE TABLE public.half (); SELECT 1/0;", "by zero"),
})  # fmt: skip
def test_what_cannot_be_applied_is_refused_and_changes_nothing(server, tmp_path, name, text, says):
    shutil.copytree(HOME / "migrations", tmp_path / "m")
    (tmp_path / "m" / name).write_text(text)
    code, said = migrate(server, tmp_path / "m")
    assert (code != 0, says in said, name in said) == (True, True, True), said
    assert server.sql("SELECT to_regclass('public.half'), max(version) FROM schema_migrations") == "|3"


# --- what is stored ---


def test_a_client_that_sends_the_conversation_again_continues_it(database):
    ingest(database, entry("One?", chain="c1"))
    ingest(database, entry("Two?", before="c1", chain="c2"))
    ingest(database, entry("Two, again?", before="c1", chain="c3"))
    ingest(database, entry("Three?", before="c3"), entry("Another beginning?", before="unknown"))
    counts = {one["title"]: one["messages"] for one in conversations(database)}
    assert counts == {"One?": 8, "Another beginning?": 2}


def test_two_users_who_say_the_same_have_a_conversation_each(database):
    ingest(database, entry(chain="c1"), entry(chain="c1", who="bert"), entry(before="c1", who="bert"))
    assert [len(messages(database, who)) for who in ("anna", "bert")] == [2, 4]


def test_nobody_writes_into_a_conversation_of_somebody_else(database):
    ingest(database, entry(conversation=FOREIGN))
    ingest(database, entry("Mine!", conversation=FOREIGN, who="eve"))
    assert (len(messages(database)), conversations(database, "eve")) == (2, [])
    assert errors(database) == f"conversation {FOREIGN} is another user's"


def test_a_repeated_request_is_stored_once(database):
    same = entry(request_id="r1")
    ingest(database, same)
    ingest(database, same, same)
    assert (len(messages(database)), errors(database)) == (2, "")


@cases(("text", "kept"), {
    "any language": ("日本語 🙂 'quotes' \\ \"x\" $$ %s", "日本語 🙂 'quotes' \\ \"x\" $$ %s"),
    "bytes that are no UTF-8": (b"caf\xe9", "café"),
    "half a character": ("é".encode()[:1], "Ã"),
    "JSON that closes the one around it": ('"}]); DROP TABLE x; --', '"}]); DROP TABLE x; --'),
    "nothing": ("", ""),
})  # fmt: skip
def test_whatever_is_said_is_stored(database, text, kept):
    ingest(database, entry(text, text))
    assert [one["content"] for one in messages(database)] == [kept, kept]


@cases(("members", "reason"), {
    "a role nobody has": ({"role": "root"}, "messages_role_check"),
    "a zero byte": ({"answer": b"a\0b"}, "invalid byte sequence"),
    "no base64": ({"kind": "image", "workflow": "%%%"}, "invalid symbol"),
    "a kind of its own": ({"kind": "secret"}, "case not found"),
    "an id that is none": ({"conversation": "1; DROP TABLE x"}, "invalid input syntax for type uuid"),
    "sizes that are none": ({"images": "many"}, "invalid input syntax for type bigint"),
})  # fmt: skip
def test_what_cannot_be_stored_is_kept_with_its_reason_and_holds_nobody_up(database, members, reason):
    bad = entry("bad", **members)
    ingest(database, entry("before"), bad, entry("after"), [], 7, {})
    ingest(database, bad)
    assert {one["title"] for one in conversations(database)} == {"before", "after"}
    assert reason in errors(database)
    assert len(errors(database).splitlines()) == 1


def test_a_fault_of_the_server_is_an_error_so_that_the_gateway_tries_again(database):
    with pytest.raises(CalledProcessError) as failed:
        database.sql(f"""BEGIN;
        CREATE FUNCTION history.full() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE SQLSTATE '53100' USING MESSAGE = 'disk full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON history.messages EXECUTE FUNCTION history.full();
        SELECT api.ingest($body${json.dumps(entry())}$body$);""")
    assert "disk full" in failed.value.stderr
    assert database.sql("SELECT count(*) FROM history.requests") == "0"


def test_requests_whose_content_nobody_wants_stored_only_count(database):
    silent = entry()
    del silent["exchange"]
    ingest(database, silent, entry(who=None))
    assert database.sql("SELECT count(*) FROM history.requests") == "1"
    assert database.sql("SELECT count(*) FROM history.users") == "0"


@cases(("answer", "snippets"), {
    "two blocks": ("Try\n```python\nprint(1)\n```\nor\n```c++\nint i;\n```",
        [("python", "print(1)\n"), ("c++", "int i;\n")]),
    "no language, Windows lines": ("```\r\nx\r\n```", [("", "x\r\n")]),
    "one that was cut has no end": ("```sh\nls", []),
    "words in one line": ("Use ```x``` here.", []),
})  # fmt: skip
def test_code_is_found_in_the_answer(database, answer, snippets):
    ingest(database, entry("```python\nnot mine\n```", answer))
    question, found = messages(database)
    assert question["code"] == []
    assert [(one["language"], one["body"]) for one in found["code"]] == snippets


GRAPH = {
    "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 768}},
    "6": {"class_type": "ConditioningSetAreaPercentage", "inputs": {"width": 0.5, "height": 768.0}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615, "steps": 20}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
}


def test_an_image_is_a_row_that_names_its_files_once_the_client_has_asked_for_them(database):
    work = encoded(json.dumps({"prompt": GRAPH, "client_id": "x"}))
    ingest(database, entry(kind="image", job="j1", node="ORIN0", workflow=work))
    ingest(database, entry(kind="image", job="j2", workflow=encoded("null"), who="eve"))
    ingest(database, entry(kind="files", job="j1", files=encoded("stolen.png"), who="eve"))
    ingest(database, entry(kind="files", job="j1", files=encoded("a_00001_.png\nb/c.png")))
    [row] = asked(database, "anna", "api.history()")[1]["images"]
    found = [row[name] for name in ("job", "node", "prompt", "model", "width", "height", "seed", "files")]
    model, seed = "sd_xl_base_1.0.safetensors", 18446744073709551615
    assert found == ["j1", "ORIN0", "a cat", model, 1024, 768, seed, ["a_00001_.png", "b/c.png"]]
    assert asked(database, "anna", f"api.history_one('{row['id']}')")[1]["workflow"] == GRAPH
    assert asked(database, "eve", f"api.history_one('{row['id']}')")[0] == "404"
    assert [one["job"] for one in asked(database, "eve", "api.history()")[1]["images"]] == ["j2"]


def test_what_the_gateway_sends_is_what_the_database_takes(database):
    """The Lua that ships makes the entries here."""

    def line(text: str) -> bytes:
        said = {"model": "m", "message": {"content": text}, "done": True, "eval_count": 2}
        return json.dumps(said).encode()

    said = [{"role": "user", "content": "One?"}]
    first = gateway_lua.record("/api/v1/chat", json.dumps({"messages": said}), line("```sh\nls\n``` é 🙂"))
    said += [{"role": "assistant", "content": "```sh\nls\n``` é 🙂"}, {"role": "user", "content": "Two?"}]
    second = gateway_lua.record("/v1/chat/completions", json.dumps({"messages": said}), line("Two."))
    graph = json.dumps({"prompt": GRAPH})
    job = gateway_lua.record("/api/v1/image", graph, b'{"prompt_id":"j1"}')
    made = {"filename": "a.png", "subfolder": "x", "type": "output"}
    result = {"j1": {"outputs": {"9": {"images": [made, made | {"type": "temp"}]}, "7": {"text": ["x"]}}}}
    where = "/api/v1/image/history/j1"
    files = gateway_lua.record(where, "", json.dumps(result).encode(), method="GET")
    ingest(database, first, second, job, files)
    assert errors(database) == ""
    found = messages(database)
    assert [one["content"] for one in found] == [*(one["content"] for one in said), "Two."]
    assert (found[1]["code"], found[1]["completion_tokens"], found[1]["whole"]) == (
        [{"language": "sh", "body": "ls\n"}], 2, True,
    )  # fmt: skip
    [image] = asked(database, "anna", "api.history()")[1]["images"]
    assert (image["prompt"], image["files"]) == ("a cat", ["x/a.png"])


# --- who sees it ---


@cases("statement", {
    "other users' names": "SELECT * FROM history.users",
    "what was rejected": "SELECT * FROM history.ingest_errors",
    "writing a message": "INSERT INTO history.messages DEFAULT VALUES",
    "changing a conversation": "UPDATE history.conversations SET title = ''",
    "how much others use": "SELECT * FROM history.usage",
    "forgetting somebody": "SELECT history.forget('anna')",
    "looking without a schema of its own": "TABLE public.schema_migrations",
})  # fmt: skip
def test_the_gateways_role_may_call_its_functions_only(database, statement):
    with pytest.raises(CalledProcessError) as failed:
        database.sql(f"SET ROLE gateway; {statement}")
    assert "permission denied" in failed.value.stderr


def test_the_rows_themselves_are_hidden_whatever_a_function_forgets(database):
    ingest(database, entry(answer="```sh\nls\n```"), entry(answer="```sh\nps\n```", who="bert"))
    tables = ("conversations", "messages", "code_snippets")
    counts = [f"(SELECT count(*) FROM history.{table})" for table in tables]
    for who, expected in (("anna", [1, 2, 1]), ("nobody", [0, 0, 0])):
        assert asked(database, who, f"json_build_array({', '.join(counts)})")[1] == expected
    assert database.sql("SET ROLE gateway; SELECT count(*) FROM history.conversations") == "0"


# --- how long ---


def test_what_is_older_than_the_days_that_are_kept_goes_with_the_first_entry_of_a_day(database, usage):
    days = {"old": 31, "new": 29}
    for title, age in days.items():
        at = float(database.sql(f"SELECT extract(epoch FROM now() - interval '{age} days') * 1000"))
        ingest(database, entry(title) | {"started_at": at})
    database.sql("UPDATE history.settings SET keep_days = 30")
    ingest(database, entry("today", who="bert"))
    assert len(conversations(database)) == 2
    database.sql("UPDATE history.settings SET expired_on = current_date - 1")
    ingest(database, entry("tomorrow", who="bert"))
    assert [one["title"] for one in conversations(database)] == ["new"]
    assert usage() == {"anna ": [2, 0, 0], "bert ": [2, 0, 0]}, "sums do not fall"


def test_forgetting_a_user_leaves_nothing_of_theirs_and_all_of_the_others(database):
    ingest(database, entry("a secret"), entry("another", role="root"), entry(who="bert"))
    assert database.sql("SELECT history.forget('anna'), history.forget('nobody')") == "1|0"
    told = ["users", "conversations", "messages", "usage", "ingest_errors"]
    counts = [f"(SELECT count(*) FROM history.{table})" for table in told]
    assert database.sql(f"SELECT {', '.join(counts)}") == "1|1|2|1|0"
    assert UUID(conversations(database, "bert")[0]["id"])


# --- how much ---


@cases(("entries", "sums"), {
    "two answers of one model are added": ([used("m", 10, 2), used("m", 5.0, 3)], {"anna m": [2, 15, 5]}),
    "each user and each model has its own": ([used("m", 1, 1), used("n", 2, 2), used("m", 3, 3, who="bert")],
        {"anna m": [1, 1, 1], "anna n": [1, 2, 2], "bert m": [1, 3, 3]}),
    "an answer may name no model and no tokens": ([used(None, None, None)], {"anna ": [1, 0, 0]}),
    "a question of an assistant is no answer": ([used("m", 1, 2, role="assistant")], {"anna m": [1, 1, 2]}),
    "what is not stored does not count": ([used("m", 1, 2, kind="x"), used("m", 1, 2, role="root")], {}),
    "signs of the format are escaped": ([used('a"\\\n', 1, 2)], {r'anna a\"\\\n': [1, 1, 2]}),
})  # fmt: skip
def test_answers_are_counted_and_those_before_the_migration_as_well(database, usage, entries, sums):
    ingest(database, *entries)
    assert usage() == sums
    database.sql("DROP TABLE history.usage; DROP FUNCTION history.count_usage CASCADE")
    # Without the table, as without a database, there are no metrics instead of old ones.
    assert aicluster_usage.look() == ""
    database.sql((HOME / "migrations/0003_usage.sql").read_text())
    assert usage() == sums
