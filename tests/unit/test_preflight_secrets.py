"""Which values the preflight takes for secrets; it never repeats one."""

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar, trust_as_template
from by_path import import_file
from tree import load

preflight = import_file("action_plugins/site_preflight.py", "site_preflight_secrets")


def found(value):
    return preflight.secrets_of({"site_secrets_file": "vault.yml", "site_secrets": {"redis_password": value}})


@pytest.mark.parametrize(("value", "flaw"), [
    pytest.param(12345678, "number", id="a number, which Kong refuses"),
    pytest.param(True, "truth value", id="a word that YAML reads as true"),
    pytest.param("elevensigns", "fewer than 12", id="what SonarQube takes for too short"),
    pytest.param("pässword", "ASCII", id="a letter that JSON writes as an escape Redis does not know"),
    pytest.param("password\n", "line break", id="a line break that a shell strips"),
    pytest.param("password ", "space", id="a space at the end, which Go strips"),
    pytest.param(" password", "space", id="a space at the beginning, which a header of HTTP loses"),
    pytest.param("a%(region)sb", "placeholder", id="what rclone replaces by another of its settings"),
    pytest.param("a${env:HOME}b", "placeholder", id="what SonarQube replaces by its environment"),
    pytest.param("{b64}cGFzcw==", "placeholder", id="what SonarQube decodes"),
    pytest.param("{vault://env/home}", "placeholder", id="what Kong looks up"),
])  # fmt: skip
def test_what_programs_would_read_differently_is_refused_with_the_reason(value, flaw):
    assert flaw in found(value)["malformed"]["redis_password"]


LOOKUP = trust_as_template(load("group_vars/all/secrets.yml")["site_secrets"])


def password(text):
    return [("default", VaultSecret(text.encode()))]


class Asked(dict[str, object]):
    """Variables of a host that are computed when they are asked for."""

    def __getitem__(self, name):
        file = str(self.get("site_secrets_file"))
        if name == "site_secrets_file":
            return file
        loader = DataLoader()
        loader.set_vault_secrets(password(str(self.get("password"))) if "password" in self else [])
        return Templar(loader, {"site_secrets_file": file}).template(LOOKUP)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vault.yml"


def asked(file, **more):
    return preflight.secrets_of(Asked(site_secrets_file=file, **more))


@pytest.mark.parametrize("given", [{}, {"password": "other"}], ids=["no password", "another password"])
def test_a_vault_that_stays_closed_is_asked_for_its_password(file, given):
    file.write_bytes(VaultLib(password("right")).encrypt("redis_password: x\n"))
    described = asked(file, **given)
    assert described["problem"] == "is encrypted, and no given password decrypts it"
    assert "--ask-vault-pass" in described["fix"]
    assert asked(file, password="right")["names"] == ["redis_password"]


def test_a_file_that_is_not_there_is_to_be_made(file):
    described = asked(file)
    assert (described["problem"], described["fix"]) == ("does not exist", None)


@pytest.mark.parametrize("spoil", [
    pytest.param(lambda file: file.write_text("a: ["), id="a file that is no YAML"),
    pytest.param(lambda file: file.symlink_to("/gone/vault.yml"), id="a link to a disk that is away"),
])  # fmt: skip
def test_what_is_there_is_mended_and_not_made_anew(file, spoil):
    spoil(file)
    described = asked(file)
    assert described["problem"].startswith("cannot be read, ")
    assert described["fix"].startswith("correct it")
