"""Users of the gateway: what a list of them becomes, and what the stand-in for Kong lets them do with it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import render
import yaml
from programs import ansible
from standin_kong import serving
from tree import ROOT

from aicluster.errors import SiteError
from aicluster.gateway.users import gateway_users, user_secrets, with_user

DAY = "2027-06-30"
KEYS = [{"name": "old", "until": "2027-06-29"}, {"name": "last", "until": DAY}, {"name": "own"}]


def test_each_user_is_a_consumer_with_the_keys_of_the_day():
    users = [
        {"name": "anna", "role": "user", "keys": KEYS},
        {"name": "ben", "role": "admin", "enabled": False},
    ]
    [own, anna] = gateway_users(users, DAY)["consumers"]
    assert (own["name"], [one["secret"] for one in own["credentials"]]) == ("default", ["kong_api_key"])
    assert (anna["name"], anna["credentials"]) == ("anna", [
        {"secret": "user_anna/last", "tags": ["last", f"until:{DAY}"]},
        {"secret": "user_anna/own", "tags": ["own"]},
    ])  # fmt: skip
    assert user_secrets(users) == [*(f"user_anna/{key['name']}" for key in KEYS), "user_ben/main"]


# --- adding one ---

SHIPPED = (ROOT / "group_vars/all/users.yml").read_text()
ANNA = "site_users:\n  - {name: anna, role: user}\n"


@pytest.mark.parametrize(("text", "name", "added"), [
    pytest.param(SHIPPED, "ben", SHIPPED + "  - {name: ben, role: user}\n", id="the first, below comments"),
    pytest.param(ANNA + "\n", "007", ANNA + "  - {name: '007', role: user}\n", id="another one"),
])  # fmt: skip
def test_a_user_is_one_more_line(text, name, added):
    assert with_user(text, name) == added


@pytest.mark.parametrize(("text", "name", "message"), [
    pytest.param(ANNA, "anna", "user anna of site_users 2 times: must be listed once", id="a name taken"),
    pytest.param(ANNA, "Ben", "name of user Ben of site_users 'Ben': must be at most 64", id="a bad name"),
    pytest.param(ANNA, "default", "not `default`", id="the cluster's own name"),
    pytest.param("site_users: []\n", "ben", "must end with the list site_users", id="a list of another form"),
    pytest.param(ANNA + "more: 1\n", "ben", "add `- {name: ben, role: user}`", id="more behind the list"),
])  # fmt: skip
def test_a_file_to_which_no_line_can_be_added_stays(text, name, message):
    with pytest.raises(SiteError, match=re.escape(message)):
        with_user(text, name)


def test_the_playbook_prints_a_new_key_once_and_refuses_one_that_was_taken_away(tmp_path):
    users, vault = tmp_path / "users.yml", tmp_path / "secrets.yml"
    users.write_text(SHIPPED)
    vault.write_text("redis_password: something-else\n")
    options = (
        f"site_users_file={users} site_secrets_file={vault} site_secrets_encrypted=false user_role=service"
    )
    command = ["ansible-playbook", "playbooks/user.yml", "-e", options, "-e", "user_name=ci"]
    assert ansible(*command, "--check").returncode == 0
    assert users.read_text() == SHIPPED
    added = ansible(*command)
    assert added.returncode == 0, added.stdout + added.stderr
    assert yaml.safe_load(users.read_text()) == {"site_users": [{"name": "ci", "role": "service"}]}
    key = yaml.safe_load(vault.read_text())["user_ci/main"]
    said = " ".join(added.stdout.split())
    assert f"`apikey: {key}`" in said and "JupyterHub has no login for services" in said
    # Its line is deleted, the secret is not.
    users.write_text(SHIPPED)
    again = ansible(*command)
    assert again.returncode != 0 and key not in again.stdout
    assert "or a key that was taken away would be valid again" in " ".join(again.stdout.split())
    assert users.read_text() == SHIPPED


# --- what the gateway makes of it ---

USERS: list[dict[str, Any]] = [
    {"name": "ben", "role": "user", "keys": [{"name": "main", "until": "2999-12-31"}]},
    {"name": "carl", "role": "user", "enabled": False},
]  # fmt: skip
BENS, CARLS = (f"made-up-user-{name}-main" for name in ("ben", "carl"))


@asynccontextmanager
async def gateway(text: str) -> AsyncIterator[Any]:
    """The stand-in with a kong.yml, and how to ask it for its models."""
    async with serving(text) as (_, url), aiohttp.ClientSession() as session:
        yield lambda **headers: session.get(f"{url}/v1/models", headers=headers)


def kong_yml() -> str:
    """The file of a gateway that counts by itself."""
    site = render.with_users(*USERS, **render.without("redis"))
    return render.render_role("kong", overrides=site)["/opt/aicluster/kong/secrets/kong.yml"]


FORMS: dict[str, tuple[dict[str, str], int]] = {
    "a header of its own": ({"apikey": BENS}, 200),
    "as OpenAI's clients send it": ({"Authorization": f"Bearer {BENS}"}, 200),
    "a scheme has no case": ({"Authorization": f"bearer  {BENS}"}, 200),
    "nor has it loud": ({"Authorization": f"BEARER {BENS}"}, 200),
    "without a scheme": ({"Authorization": BENS}, 200),
    "beside it, a token of the service's": ({"apikey": BENS, "Authorization": "Bearer squ_1"}, 200),
    "another scheme": ({"Authorization": f"Basic {BENS}"}, 401),
    "a scheme in the other header": ({"apikey": f"Bearer {BENS}"}, 401),
    "nothing behind the scheme": ({"Authorization": "Bearer "}, 401),
    "a key that is not enabled": ({"apikey": CARLS}, 401),
}  # fmt: skip


async def test_which_forms_of_a_key_are_taken():
    async with gateway(kong_yml()) as models:
        statuses = {form: (await models(**headers)).status for form, (headers, _) in FORMS.items()}
    assert statuses == {form: status for form, (_, status) in FORMS.items()}


async def test_a_key_ends_with_its_day_although_no_run_has_removed_it():
    async with gateway(kong_yml().replace("2999-12-31", "2026-01-31")) as models:
        answer = await models(apikey=BENS)
        said = (await answer.json())["error"]
    assert (answer.status, said["code"]) == (401, "key_expired")
    assert said["message"] == "This key was valid until 2026-01-31; ask for another one."
