"""Which values the preflight takes for secrets; it never repeats one."""

import pytest
from by_path import import_file

preflight = import_file("action_plugins/site_preflight.py", "site_preflight_secrets")


def found(value):
    return preflight.secrets_of({"site_secrets_file": "vault.yml", "site_secrets": {"redis_password": value}})


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Zx9-k_2", id="letters, digits, signs"),
        pytest.param("12345678", id="digits in quotes"),
        pytest.param("a b\"c'd\\e$f#g`h", id="signs that mean something to a shell, YAML, Redis or rclone"),
        pytest.param("100 % (sure) $ {x} )s ${", id="pieces of a placeholder"),
    ],
)
def test_a_line_of_printable_ascii_means_the_same_everywhere(value):
    assert found(value) == {
        "file": "vault.yml", "names": ["redis_password"], "malformed": {}, "problem": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        pytest.param(12345678, "number", id="a number, which Kong refuses"),
        pytest.param(True, "truth value", id="a word that YAML reads as true"),
        pytest.param(["password"], "list", id="a list"),
        pytest.param("pässword", "ASCII", id="a letter that JSON writes as an escape Redis does not know"),
        pytest.param("password\n", "line break", id="a line break that a shell strips"),
        pytest.param("pass\tword", "tab", id="a tab, which separates words"),
        pytest.param("pass\x7fword", "control character", id="a character nobody sees"),
        pytest.param("password ", "space", id="a space at the end, which Go strips"),
        pytest.param(" password", "space", id="a space at the beginning, which a header of HTTP loses"),
        pytest.param("a%(region)sb", "placeholder", id="what rclone replaces by another of its settings"),
        pytest.param("a${env:HOME}b", "placeholder", id="what SonarQube replaces by its environment"),
        pytest.param("{b64}cGFzcw==", "placeholder", id="what SonarQube decodes"),
        pytest.param("{vault://env/home}", "placeholder", id="what Kong looks up"),
    ],
)
def test_what_programs_would_read_differently_is_refused_with_the_reason(value, flaw):
    assert flaw in found(value)["malformed"]["redis_password"]


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_no_secret(value):
    assert found(value)["names"] == []
