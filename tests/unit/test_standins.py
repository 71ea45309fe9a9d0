"""A stand-in refuses what the real service would refuse, and what it would not heed itself.

What is asked of one is asked in every run of the lab: by `bin/verify`, Prometheus, Kong and `tests/e2e`.
"""

import pytest
import render
from standins.grafana.grafana_standin.settings import settings_of
from standins.postgrest.postgrest_standin.config import settings_of as settings_of_postgrest
from standins.sonarqube.sonarqube_standin.properties import database_url

POSTGREST_CONF = "/opt/aicluster/postgrest/secrets/postgrest.conf"


@pytest.mark.parametrize(("name", "value"), [
    pytest.param("GF_SERVER_ENABLE_GZIPP", "false", id="a setting nobody has heard of"),
    pytest.param("GF_SECURITY_ADMIN_PASSWORD__FILE", "/x", id="one that only the image's run.sh knows"),
])  # fmt: skip
def test_a_wrong_setting_of_grafana_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        settings_of({name: value})


@pytest.mark.parametrize(("line", "refusal"), [
    ('jwt-secret = "x"', "no setting this stand-in knows"),
    ("server-port = 30x", "cannot be read"),
])  # fmt: skip
def test_a_mistake_in_the_shipped_configuration_of_postgrest_is_refused(line, refusal):
    shipped = render.render_role("postgrest")[POSTGREST_CONF]
    assert settings_of_postgrest(shipped)
    with pytest.raises(ValueError, match=refusal):
        settings_of_postgrest(f"{shipped}\n{line}\n")


def test_another_database_for_sonarqube_is_refused():
    with pytest.raises(ValueError, match="PostgreSQL"):
        database_url({"sonar.jdbc.url": "jdbc:h2:mem:sonar"})
