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
        pytest.param("a b\"c'd\\e$f#g", id="signs that mean something to a shell, YAML or Redis"),
    ],
)
def test_a_line_of_printable_ascii_means_the_same_everywhere(value):
    assert found(value) == {
        "file": "vault.yml", "names": ["redis_password"], "malformed": [], "problem": None
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(12345678, id="a number, which Kong refuses"),
        pytest.param(True, id="a word that YAML reads as true"),
        pytest.param("pässword", id="a letter that JSON writes as an escape Redis does not know"),
        pytest.param("password\n", id="a line break that a shell strips"),
        pytest.param(["password"], id="a list"),
    ],
)
def test_what_files_would_write_differently_is_malformed(value):
    assert found(value)["malformed"] == ["redis_password"]


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_no_secret(value):
    assert found(value)["names"] == []
