"""The checks of the data tier: what they take for an answer, and what they say when it is none."""

import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from aicluster_verify import Broken, Kit
from by_path import import_file

PORTS = {
    "minio": {"api": 9000, "console": 9001},
    "postgres": {"sql": 5432},
    "redis": {"redis": 6379},
    "postgres_exporter": {"metrics": 9187},
    "redis_exporter": {"metrics": 9121},
}
Execute = Callable[[Sequence[str], str | None], str]


class Page(http.server.BaseHTTPRequestHandler):
    """Answers every path with what `pages` says of it: status and text."""

    pages: dict[str, tuple[int, str]]

    def do_GET(self) -> None:
        status, text = self.pages[self.path.partition("?")[0]]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[tuple[dict[str, tuple[int, str]], int]]:
    """Path -> answer, to be filled by the test, and the port that gives it."""
    answers: dict[str, tuple[int, str]] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Pages", (Page,), {"pages": answers}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield answers, server.server_port
    server.shutdown()
    server.server_close()


class DataKit(Kit):
    """A kit whose services all answer on one port of this machine, and whose containers run `inside`."""

    def __init__(
        self, port: int = 0, inside: Execute | None = None, published: str | None = "127.0.0.1"
    ) -> None:
        services = {
            service: {
                "ports": {
                    name: {"port": port, "container": container, "published": published}
                    for name, container in ports.items()
                }
            }
            for service, ports in PORTS.items()
        }
        super().__init__({"node": "PI52", "services": services, "cluster": []}, "run-1")
        self.inside = inside

    def execute(self, service: str, argv: Sequence[str], stdin: str | None = None) -> str:
        """Return what `inside` makes of it."""
        assert self.inside, f"nothing was to be run in {service}"
        return self.inside(argv, stdin)


def check(service: str) -> Callable[[Kit], str]:
    path = f"roles/{service}/templates/opt/aicluster/checks/{service}.py"
    found: Callable[[Kit], str] = import_file(path, f"check_{service}").check
    return found


def fail(said: str) -> Execute:
    def inside(_argv: Sequence[str], _stdin: str | None) -> str:
        raise Broken(said)

    return inside


# --- minio ---

GOOD = {"/images/": (403, "AccessDenied"), "/": (200, "<title>MinIO Console</title>")}


def echo(_argv: Sequence[str], stdin: str | None) -> str:
    return stdin or ""


def test_minio_is_well_when_an_object_comes_back_as_it_was_written(pages):
    answers, port = pages
    answers.update(GOOD)
    seen = check("minio")(DataKit(port, echo))
    assert seen == "object of 27 bytes written, read and removed; strangers refused; console answers"


def test_minio_is_asked_for_an_object_of_this_run(pages):
    answers, port = pages
    answers.update(GOOD)
    calls = []

    def inside(argv: Sequence[str], stdin: str | None) -> str:
        calls.append((list(argv), stdin))
        return stdin or ""

    check("minio")(DataKit(port, inside))
    assert calls == [(["/opt/aicluster/bin/round-trip", ".verify/run-1"], "aicluster verify run-1 PI52")]


@pytest.mark.parametrize(
    ("changed", "inside", "evidence"),
    [
        ({"/images/": (200, "<ListBucketResult/>")}, echo, "answered 200 instead of 403"),
        ({}, lambda _argv, _stdin: "something else", "read 'something else'"),
        ({}, fail("mc: Bucket `images` does not exist"), "does not exist"),
        ({"/": (502, "")}, echo, "answered 502 instead of 200"),
        ({"/": (200, "{}")}, echo, "the console's page is none"),
    ],
    ids=["open to strangers", "another content", "no bucket", "no console", "not the console"],
)
def test_minio_is_broken(pages, changed, inside, evidence):
    answers, port = pages
    answers.update(GOOD | changed)
    with pytest.raises(Broken) as caught:
        check("minio")(DataKit(port, inside))
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
    assert check("postgres")(DataKit(inside=psql("run-1 PI52", "3"))) == (
        "row written, read and rolled back; 3 databases"
    )


@pytest.mark.parametrize(
    ("inside", "evidence"),
    [
        (psql("3"), "wrote 'run-1 PI52' and read"),
        (psql("run-0 PI52", "3"), "wrote 'run-1 PI52' and read"),
        (psql("run-1 PI52"), "wrote 'run-1 PI52' and read 'run-1 PI52"),
        (psql(), "wrote 'run-1 PI52' and read ''"),
        (fail("password authentication failed"), "password authentication failed"),
    ],
    ids=["no row", "another row", "half", "nothing", "wrong password"],
)
def test_postgres_is_broken(inside, evidence):
    with pytest.raises(Broken) as caught:
        check("postgres")(DataKit(inside=inside))
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
    assert check("redis")(DataKit(inside=redis)) == "key set, read and removed"
    assert redis.keys == {}
    [setting] = [call for call in redis.calls if call[0] == "SET"]
    assert "run-1" in setting[1] and setting[-2:] == ["EX", "60"], "unique, and gone by itself"


@pytest.mark.parametrize(
    ("answers", "evidence"),
    [
        ({"SET": "NOAUTH Authentication required."}, "SET answered 'NOAUTH Authentication required.'"),
        ({"SET": "MISCONF Errors writing to the AOF file"}, "SET answered 'MISCONF"),
        ({"GET": ""}, "GET answered ''"),
        ({"DEL": "0"}, "DEL answered '0'"),
    ],
    ids=["wrong password", "full disk", "forgotten at once", "not there to remove"],
)
def test_redis_is_broken(answers, evidence):
    with pytest.raises(Broken) as caught:
        check("redis")(DataKit(inside=Redis(**answers)))
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
def test_an_exporter_is_well_when_it_was_answered(pages, service, text, seen):
    answers, port = pages
    answers["/metrics"] = (200, text)
    assert check(service)(DataKit(port)) == seen


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
def test_an_exporter_is_broken(pages, service, answer, evidence):
    answers, port = pages
    answers["/metrics"] = answer
    with pytest.raises(Broken) as caught:
        check(service)(DataKit(port))
    assert evidence in caught.value.evidence


@pytest.mark.parametrize("service", ["postgres_exporter", "redis_exporter"])
def test_an_exporter_that_nobody_can_reach_is_broken(service):
    with pytest.raises(Broken, match="published to nobody"):
        check(service)(DataKit(published=None))
