"""What SonarQube is told."""

import pytest
import render
from standins.sonarqube.sonarqube_standin.properties import weakness

SECRETS = "/opt/aicluster/sonarqube/secrets"


@pytest.mark.parametrize(("secret", "password"), [
    pytest.param("Good-Enough-123", "Good-Enough-123", id="one of all four kinds stays as it is"),
    pytest.param("AbcdefghIjkl123", "AbcdefghIjkl123_Aa1", id="letters and digits alone get a sign"),
    pytest.param("abc-defghi-jkl1", "abc-defghi-jkl1_Aa1", id="no capital letter"),
    pytest.param("ABC-DEFGHI-JKL1", "ABC-DEFGHI-JKL1_Aa1", id="no small letter"),
    pytest.param("Abc-defghi-jklm", "Abc-defghi-jklm_Aa1", id="no digit"),
])  # fmt: skip
def test_the_password_of_the_administrator_is_one_that_sonarqube_takes(secret, password):
    secrets = render.made_up_secrets() | {"sonarqube_admin_password": secret}
    files = render.render_role("sonarqube", overrides={"site_secrets": secrets})
    assert files[f"{SECRETS}/admin_password"].strip() == password
    assert weakness(password) == ""
