"""What PostgREST is told: where the database is, as whom, and which schema."""

from typing import Any
from urllib.parse import urlsplit

import render
from standins.postgrest.postgrest_standin.config import settings_of

CONF = "/opt/aicluster/postgrest/secrets/postgrest.conf"


def database(**where: Any) -> str:
    """Where its database is, as the stand-in reads it: an unknown name would be refused."""
    return str(settings_of(render.render_role("postgrest", **where)[CONF])["db-uri"])


def test_on_another_node_it_has_its_address_and_nothing_here_waits_for_it():
    away = render.moved("postgres", "AGX0")
    assert urlsplit(database(overrides=away)).hostname == "192.168.1.154"
    assert "depends_on" not in render.container("postgrest", overrides=away)


def test_the_database_is_that_of_the_site():
    assert database(overrides={"site_database": "other"}).endswith("/other")
