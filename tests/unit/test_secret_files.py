"""Secrets are in files for one reader and nowhere else; programs get just what the preflight accepted."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote

import pytest
import render
import tree
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from standins.postgrest.postgrest_standin.config import settings_of
from standins.sonarqube.sonarqube_standin.properties import properties
from tree import ROOT

from aicluster.preflight.secrets import flaw_of
from aicluster.site.relations import CA_SECRET

CASES = [
    (inventory, host, service)
    for inventory in sorted(render.SOURCES)
    for service in sorted(tree.catalogue())
    for host in render.hosts_running(service, inventory)
]


@pytest.mark.parametrize(("inventory", "host", "service"), CASES)
def test_a_secret_is_only_in_files_that_one_user_reads(inventory, host, service):
    values, uid = render.made_up_secrets().values(), tree.catalogue()[service].get("uid", 0)
    for file in render.files_of(service, inventory, host):
        held = [value for value in values if value in file.content.decode()]
        assert not held or file.secret, f"{file.path} holds {held}"
        assert not file.secret or (file.mode, file.uid) == ("0400", uid), file.path


# Where Debian and Ubuntu number people; nobody has two thousand of them on a board.
PEOPLE = range(1000, 2000)


@pytest.mark.parametrize("service", [name for name, entry in tree.catalogue().items() if entry["secrets"]])
def test_secret_files_do_not_belong_to_a_person_of_the_board(service):
    assert tree.catalogue()[service].get("uid", 0) not in PEOPLE


# Signs that shells, YAML, JSON, ini files, Java, Jinja, SQL and addresses give a meaning.
SIGNS = [
    "".join(map(chr, range(0x21, 0x7F))),
    "`back`tick`s",
    '"""quoted"""',
    "#no ;comment // nor /* this */",
    "it ends with \\",
    "$HOME $(id) %(open {{ 7 * 7 }} {% x %} {# y #} ${open",
    "= : @ / ? & %41 \\n \\x41 \\u0041",
    "'two  spaces'",
    "007007007007",
    "0x1234567890",
]
accepted = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=12).filter(
    lambda text: flaw_of(text) is None
)
Files = dict[str, str]
Reader = Callable[[str, Files], Iterator[str]]


def line(text: str, _files: Files) -> Iterator[str]:
    """The one line of a file: what `$(cat ...)`, strip() of Python and TrimSpace of Go agree on."""
    assert text.strip() + "\n" == text
    yield text[:-1]


def by_shell(script: str) -> Reader:
    """Lines `user secret`, read by the shell function of the role's own script."""

    def read(text: str, files: Files) -> Iterator[str]:
        found = re.search(r"^secret_of\(\) \{$.*?^\}$", files[script], re.MULTILINE | re.DOTALL)
        assert found
        command = re.sub(r"< /run/secrets/\S+", "", found[0]) + '\nprintf %s. "$(secret_of "$1")"'
        for user in (line.split(" ")[0] for line in text.splitlines()):
            said = subprocess.run(
                ["sh", "-euc", command, "sh", user], input=text, capture_output=True, text=True, check=True
            )
            yield said.stdout[:-1]

    return read


def redis_conf(text: str, _files: Files) -> Iterator[str]:
    """The password as Redis splits a line: double quotes as in C."""
    found = re.search(r'^requirepass "((?:[^"\\]|\\.)*)"$', text, re.MULTILINE)
    assert found
    special = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
    yield re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|(.))",
        lambda one: chr(int(one[1], 16)) if one[1] else special.get(one[2], one[2]),
        found[1],
    )


def rclone_conf(text: str, _files: Files) -> Iterator[str]:
    """The key as rclone's parser (goconfig) reads it: no comment after a value, two kinds of quotes."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (re.split("[=:]", line, maxsplit=1) for line in lines if line and line[0] not in "#;[")
    [value] = (right.strip() for name, right in pairs if name.strip() == "secret_access_key")
    quotes = [quote for quote in ("`", '"""') if len(value) >= 2 * len(quote) and value.startswith(quote)]
    for quote in quotes[:1]:
        # Without a second one rclone refuses the whole file.
        value = value[len(quote) : value.rindex(quote, len(quote))]
    yield re.sub(r"%\([^)]+\)s", "", value)


def pgpass(text: str, _files: Files) -> Iterator[str]:
    """The password as libpq and its like read one: fields between colons, a backslash before what is none."""
    [entry] = text.splitlines()
    fields = re.findall(r"((?:[^:\\]|\\.)*)(?::|$)", entry)[:5]
    assert fields[:4] in (["*", "*", "*", role] for role in ("monitor", "replication"))
    yield re.sub(r"\\(.)", r"\1", fields[4])


def sonar_properties(text: str, _files: Files) -> Iterator[str]:
    found = properties(text)
    yield from (found["sonar.jdbc.password"], found["sonar.web.systemPasscode"])


def postgrest_conf(text: str, _files: Files) -> Iterator[str]:
    userinfo = settings_of(text)["db-uri"].removeprefix("postgresql://").partition("@")[0]
    yield unquote(userinfo.split(":")[1])


def kong_yml(text: str, _files: Files) -> Iterator[str]:
    found = yaml.safe_load(text)
    [consumer] = found["consumers"]
    for credential in consumer["keyauth_credentials"]:
        yield credential["key"]
    plugins = [plugin for service in found["services"] for plugin in service["routes"][0]["plugins"]]
    yield from (one["config"]["redis"]["password"] for one in plugins if one["name"] == "rate-limiting")


def redis_commander_json(text: str, _files: Files) -> Iterator[str]:
    yield from (connection["password"] for connection in json.loads(text)["connections"])


# Any other file is one line, the secret.
READERS: dict[str, Reader] = {
    "comfyui_outputs/secrets/rclone.conf": rclone_conf,
    "kong/secrets/kong.yml": kong_yml,
    "minio/secrets/users": by_shell("minio/bin/sign-in"),
    "postgres/secrets/pgpass": pgpass,
    "postgres/secrets/roles": by_shell("postgres/provision"),
    "postgres_exporter/secrets/pgpass": pgpass,
    "postgrest/secrets/postgrest.conf": postgrest_conf,
    "prometheus/secrets/scrape.yml": lambda text, _: (
        job["authorization"]["credentials"] for job in yaml.safe_load(text)["scrape_configs"]
    ),
    "redis/secrets/redis.conf": redis_conf,
    "redis_commander/secrets/local-production.json": redis_commander_json,
    "redis_exporter/secrets/passwords.json": lambda text, _: iter(json.loads(text).values()),
    # The role makes a weak one stronger at its end.
    "sonarqube/secrets/admin_password": lambda text, _: iter([text[:-1].removesuffix("_Aa1")]),
    "sonarqube/secrets/sonar.properties": sonar_properties,
}
NAMES = list(render.made_up_secrets())
FILES = {
    f"{path.parts[-3]}/secrets/{path.name.removesuffix('.j2')}"
    for path in ROOT.glob("roles/*/templates/opt/aicluster/*/secrets/*")
    if path.is_file()
}
# Hashes, which the users of their files are tested with; addresses that the site gives; derived values.
FILES -= {
    "jupyterhub/secrets/users.json",
    "profile_wake/secrets/token",
    *(path for path in FILES if path.endswith((".crt", ".pem"))),
    *(path for path in FILES if path.startswith(("nginx/", "alertmanager/", "backup"))),
}
ROLES = sorted({path.partition("/")[0] for path in FILES})


@cache
def rendering(role: str) -> Any:
    return render._renderer("production", render.hosts_running(role)[0], {})  # one that no other test shares


def those_that_matter(root: Path) -> list[Path]:
    """The templates of secrets and of the scripts that read them; the other ones would only cost time."""
    found = [
        path for name in ("secrets/*", "sign-in.j2", "provision.j2") for path in sorted(root.rglob(name))
    ]
    return [path for path in found if path.is_file()]


def read_back(role: str, secrets: Any) -> dict[str, list[str]]:
    """Path -> what its reader gets of each secret in it."""
    renderer = rendering(role)
    renderer.shared["site_secrets"] = secrets
    with mock.patch("aicluster.engine.rendering.template_sources", those_that_matter):
        found = {file.path: file.content.decode() for file in render._rendered(role, renderer, {})}
    files = {path.removeprefix("/opt/aicluster/"): text for path, text in found.items()}
    own = [path for path in FILES if path.startswith(f"{role}/")]
    return {path: list(READERS.get(path, line)(files[path], files)) for path in own}


def all_are(secret: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, secret) | {CA_SECRET: render.made_up_ca()}


def each_reader_gets(secret: str, role: str) -> None:
    for path, found in read_back(role, all_are(secret)).items():
        assert set(found) == {secret}, path


@pytest.mark.parametrize("role", ROLES)
def test_a_sign_that_means_something_elsewhere_reaches_the_reader(role):
    for secret in SIGNS:
        assert flaw_of(secret) is None
        each_reader_gets(secret, role)


@pytest.mark.parametrize("role", ROLES)
@settings(max_examples=20, deadline=None)
@given(secret=accepted)
def test_what_the_preflight_accepts_reaches_the_reader(role, secret):
    each_reader_gets(secret, role)


def test_a_secret_of_the_vault_is_no_template(tmp_path):
    """Ansible computes what it reads from its own files, not what is in the vault."""
    vault = tmp_path / "vault.yml"
    vault.write_text(yaml.safe_dump(all_are(SIGNS[5])))
    [host] = render.hosts_running("comfyui_outputs")
    read = render.site("production")
    lookup = read.variables.get_vars(host=read.inventory.get_host(host))["site_secrets"]
    overrides = {"site_secrets": lookup, "site_secrets_file": str(vault)}
    resolved = render.renderer("production", host, overrides).shared["site_secrets"]
    assert read_back("comfyui_outputs", resolved) == {"comfyui_outputs/secrets/rclone.conf": [SIGNS[5]]}
