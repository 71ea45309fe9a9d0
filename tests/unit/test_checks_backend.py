"""The checks of the data tier: what they say when an answer is none. On the lab they find the good ones."""

from collections.abc import Sequence
from typing import Any

import pytest
from a_kit import Printed, ScriptedKit, check_of, failure_of, site

PORTS = {
    **{"minio": {"api": 9000, "console": 9001}, "postgres": {"sql": 5432}, "redis": {"redis": 6379}},
    **{"postgres_exporter": {"metrics": 9187}, "redis_exporter": {"metrics": 9121}},
}
MINIO = {"GET /images/": (403, "AccessDenied"), "GET /": (200, "<title>MinIO Console</title>")}
WRONG_PASSWORD = 'redis_exporter_last_scrape_error{err="WRONGPASS"} 1'


def says(text: str | None) -> Printed:
    """What is run in the container prints that, or what it was given."""
    return lambda _argv, stdin: f"{text}\n" if text is not None else stdin or ""


def page(text: str) -> dict[str, Any]:
    return {"GET /metrics": (200, text)}


FAILED: dict[str, tuple[Any, ...]] = {
    "a store that is open to strangers": ("minio", MINIO | {"GET /images/": (200, "<ListBucketResult/>")},
        says(None), "answered 200 instead of 403"),
    "a store that gives something else back": ("minio", MINIO, says("else"), "read 'else"),
    "no console": ("minio", MINIO | {"GET /": (200, "{}")}, says(None), "the console shows no page"),
    "a row that is lost": ("postgres", {}, says("3"), "wrote 'run-1 PI52' and read"),
    "another password of Redis": ("redis", {}, says("NOAUTH"), "SET answered 'NOAUTH"),
    "a database out of reach": ("postgres_exporter", page("pg_up 0\n"), "", "pg_up 0"),
    "a page of no database": ("postgres_exporter", page("go_threads 7\n"), "", "no pg_up"),
    "a role without rights": ("postgres_exporter", page("pg_up 1\n"), "", "lacks pg_monitor"),
    "its password": ("redis_exporter", page(f"{WRONG_PASSWORD}\nredis_up 0\n"), "", WRONG_PASSWORD),
    "no numbers": ("redis_exporter", page("redis_up 1\n"), "", "no number of Redis"),
}  # fmt: skip


@pytest.mark.parametrize(("service", "answers", "inside", "evidence"), FAILED.values(), ids=FAILED)
def test_what_does_not_work_is_named_with_the_evidence(service, answers, inside, evidence):
    kit = ScriptedKit(site("PI52", PORTS), answers, {f"{service}: *": inside})
    assert evidence in failure_of(check_of(service).check, kit).evidence


def test_a_key_of_redis_is_unique_and_goes_by_itself_when_verify_is_killed():
    calls: list[list[str]] = []

    def inside(argv: Sequence[str], _stdin: str | None) -> str:
        calls.append([*argv])
        return "no"

    failure_of(check_of("redis").check, ScriptedKit(site("PI52", PORTS), {}, {"redis: *": inside}))
    assert "run-1" in calls[0][6] and calls[0][-2:] == ["EX", "60"]
