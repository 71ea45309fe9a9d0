"""What verify asks PostgREST, and what it makes of the answers."""

from typing import Any

import pytest
from a_kit import ADDRESS, ScriptedKit, check_of, site
from aicluster_verify import CheckError

CONF = 'db-uri = "postgresql://authenticator:x%2Fy@postgres:5432/aicluster"\ndb-schemas = "api"\n'
ROW = '{"time":"2026-11-23T11:34:30+00:00","database":"%s","version":"17.11"}'
GOOD = {
    "ready": (200, ""),
    "health": (200, f"[{ROW % 'aicluster'}]"),
    "pg_roles": (404, '{"code":"PGRST205"}'),
}


def verdict(conf=CONF, **changed):
    answers = {
        f"GET http://{ADDRESS}:{3001 if name == 'ready' else 3000}/{name}": said
        for name, said in {**GOOD, **changed}.items()
    }
    ports = site("PI52", {"postgrest": {"api": 3000, "admin": 3001}})
    return check_of("postgrest").check(
        ScriptedKit(ports, answers, secrets={"postgrest/postgrest.conf": conf})
    )


FAILED: dict[str, tuple[Any, ...]] = {
    "not ready": ({"ready": (503, "")}, "/ready answered 503"),
    "a schema without its view": ({"health": (404, '{"code":"PGRST205"}')}, "api.health answered 404"),
    "another one": ({"health": (200, f"[{ROW % 'other'}]")}, "not of database aicluster"),
    "the catalogue is shown": ({"pg_roles": (200, "[]")}, "answered 200 instead of 404"),
}


@pytest.mark.parametrize(("changed", "evidence"), FAILED.values(), ids=FAILED)
def test_a_bad_one_has_failed(changed, evidence):
    with pytest.raises(CheckError) as caught:
        verdict(**changed)
    assert evidence in caught.value.evidence
