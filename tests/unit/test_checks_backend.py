"""The checks of the data tier: what they take for an answer, and what they say when it is none."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import Broken

PORTS = {
    "minio": {"api": 9000, "console": 9001},
    "postgres": {"sql": 5432},
    "redis": {"redis": 6379},
    "postgres_exporter": {"metrics": 9187},
    "redis_exporter": {"metrics": 9121},
}
Execute = Callable[[Sequence[str], str | None], str]


def check(service: str, answers: Any = None, inside: Execute | None = None) -> str:
    """What the check of a service says; `inside` runs what is run in its container."""
    commands = {f"{service}: *": inside} if inside else {}
    return str(check_of(service).check(ScriptedKit(site("PI52", PORTS), answers, commands)))


def fail(said: str) -> Execute:
    def inside(_argv: Sequence[str], _stdin: str | None) -> str:
        raise Broken(said)

    return inside


# --- minio ---

GOOD = {"GET /images/": (403, "AccessDenied"), "GET /": (200, "<title>MinIO Console</title>")}


def echo(_argv: Sequence[str], stdin: str | None) -> str:
    return stdin or ""


def test_minio_is_well_when_an_object_comes_back_as_it_was_written():
    seen = check("minio", GOOD, echo)
    assert seen == "object of 27 bytes written, read and removed; strangers refused; console answers"


@pytest.mark.parametrize(
    ("changed", "inside", "evidence"),
    [
        ({"GET /images/": (200, "<ListBucketResult/>")}, echo, "answered 200 instead of 403"),
        ({}, lambda _argv, _stdin: "something else", "read 'something else'"),
        ({}, fail("mc: Bucket `images` does not exist"), "does not exist"),
        ({"GET /": (200, "{}")}, echo, "the console's page is none"),
    ],
    ids=["open to strangers", "another content", "no bucket", "not the console"],
)
def test_minio_is_broken(changed, inside, evidence):
    with pytest.raises(Broken) as caught:
        check("minio", GOOD | changed, inside)
    assert evidence in caught.value.evidence


# --- postgres ---


def psql(*lines: str) -> Execute:
    """A client that gives these lines; it is asked for a transaction that is rolled back."""

    def inside(argv: Sequence[str], stdin: str | None) -> str:
        assert argv[-2:] == ["5432", "run-1 PI52"] and "--host postgres" in argv[2]
        assert stdin and stdin.index("BEGIN;") < stdin.index("CREATE TABLE") < stdin.index("ROLLBACK;")
        return "".join(f"{line}\n" for line in lines)

    return inside


def test_postgres_is_well_when_the_row_comes_back():
    assert check("postgres", inside=psql("run-1 PI52", "3")) == (
        "row written, read and rolled back; 3 databases"
    )


@pytest.mark.parametrize(
    ("inside", "evidence"),
    [
        (psql("3"), "wrote 'run-1 PI52' and read"),
        (fail("password authentication failed"), "password authentication failed"),
    ],
    ids=["no row", "wrong password"],
)
def test_postgres_is_broken(inside, evidence):
    with pytest.raises(Broken) as caught:
        check("postgres", inside=inside)
    assert evidence in caught.value.evidence


# --- redis ---


class Redis:
    """Sets, gets and removes; a word can be given another answer."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.keys, self.calls = answers, dict[str, str](), list[list[str]]()

    def __call__(self, argv: Sequence[str], _stdin: str | None) -> str:
        assert argv[:2] == ["sh", "-c"] and argv[4] == "6379"
        word, *rest = argv[5:]
        self.calls.append([word, *rest])
        if word == "SET":
            self.keys[rest[0]] = rest[1]
            return self.answers.get(word, "OK") + "\n"
        if word == "GET":
            return self.answers.get(word, self.keys.get(rest[0], "")) + "\n"
        return self.answers.get(word, str(int(self.keys.pop(rest[0], None) is not None))) + "\n"


def test_redis_is_well_when_a_key_comes_back_and_nothing_is_left():
    redis = Redis()
    assert check("redis", inside=redis) == "key set, read and removed"
    assert redis.keys == {}
    [setting] = [call for call in redis.calls if call[0] == "SET"]
    assert "run-1" in setting[1] and setting[-2:] == ["EX", "60"], "unique, and gone by itself"


@pytest.mark.parametrize(
    ("answers", "evidence"),
    [
        ({"SET": "NOAUTH Authentication required."}, "SET answered 'NOAUTH Authentication required.'"),
        ({"SET": "MISCONF Errors writing to the AOF file"}, "SET answered 'MISCONF"),
    ],
    ids=[
        "wrong password",
        "full disk",
    ],
)
def test_redis_is_broken(answers, evidence):
    with pytest.raises(Broken) as caught:
        check("redis", inside=Redis(**answers))
    assert evidence in caught.value.evidence


# --- exporters ---

POSTGRES = '# TYPE pg_up gauge\npg_up 1\npg_database_size_bytes{datname="a"} 7.5e+06\n'
REDIS = "# TYPE redis_up gauge\nredis_memory_used_bytes 1.048576e+06\nredis_up 1\n"


@pytest.mark.parametrize(
    ("service", "text", "seen"),
    [
        ("postgres_exporter", POSTGRES, "the database answers; sizes of 1 databases"),
        ("redis_exporter", REDIS, "Redis answers; it uses 1.0 MiB"),
    ],
)
def test_an_exporter_is_well_when_it_was_answered(service, text, seen):
    assert check(service, {"GET /metrics": (200, text)}) == seen


@pytest.mark.parametrize(
    ("service", "answer", "evidence"),
    [
        ("postgres_exporter", (200, POSTGRES.replace("up 1", "up 0")), "does not answer it: pg_up 0"),
        ("postgres_exporter", (200, "go_threads 7\n"), "does not answer it: no pg_up"),
        ("postgres_exporter", (200, "pg_up 1\n"), "lacks pg_monitor"),
        ("postgres_exporter", (500, ""), "answered 500 instead of 200"),
        (
            "redis_exporter",
            (200, 'redis_exporter_last_scrape_error{err="WRONGPASS"} 1\nredis_up 0\n'),
            'redis_exporter_last_scrape_error{err="WRONGPASS"} 1; redis_up 0',
        ),
        ("redis_exporter", (200, ""), "no redis_up"),
        ("redis_exporter", (200, "redis_up 1\n"), "no number of Redis"),
    ],
)
def test_an_exporter_is_broken(service, answer, evidence):
    with pytest.raises(Broken) as caught:
        check(service, {"GET /metrics": answer})
    assert evidence in caught.value.evidence
