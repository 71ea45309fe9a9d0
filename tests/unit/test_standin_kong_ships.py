"""The stand-in for Kong implements what this project uses of Kong: no less, and no more."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import render
import yaml
from standin_kong import environment
from standins.kong.kong_standin import settings
from standins.kong.kong_standin.fields import Field
from standins.kong.kong_standin.pdk import FUNCTIONS, VALUES
from standins.kong.kong_standin.schema import PLUGINS, TOP
from tree import ROOT

REDIS_ELSEWHERE = render.without("redis", on=["PI51"])


@cache
def shipped() -> list[dict[str, Any]]:
    """Every form of the declarative file: both inventories, a Redis elsewhere or none, a limited user."""
    users = render.with_users({"name": "anna", "role": "user", "limit_per_minute": 3})
    forms = [("production", {}), ("lab", {}), ("production", render.without("redis")), ("lab", users)]
    forms.append(("production", REDIS_ELSEWHERE))
    files = [render.render_role("kong", inventory, overrides=overrides) for inventory, overrides in forms]
    return [yaml.safe_load(one["/opt/aicluster/kong/secrets/kong.yml"]) for one in files]


def plugins(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The plugins of a file, wherever they stand."""
    holders = [route for service in tree["services"] for route in service["routes"]]
    holders += [consumer for consumer in tree["consumers"] if "plugins" in consumer]
    return [*tree["plugins"], *(plugin for holder in holders for plugin in holder["plugins"])]


def set_in(value: Any, path: str = "") -> Iterator[str]:
    """Every field that is set, `services.routes.name`."""
    for one in value if isinstance(value, list) else [value]:
        for name, member in one.items() if isinstance(one, dict) else ():
            yield f"{path}{name}"
            yield from set_in(member, f"{path}{name}.") if name != "config" else ()


def implemented(field: Field, path: str = "") -> Iterator[str]:
    """Every field of a schema."""
    if isinstance(field, list):
        yield from implemented(field[0], path)
    elif isinstance(field, dict):
        for name, member in ((name.removesuffix("?"), member) for name, member in field.items()):
            yield f"{path}{name}"
            yield from implemented(member, f"{path}{name}.")


def test_every_field_of_an_entity_that_is_set_is_implemented_and_no_other():
    assert {name for tree in shipped() for name in set_in(tree)} == set(implemented(TOP))


def test_every_plugin_that_ships_is_implemented_and_no_other():
    assert {one["name"] for tree in shipped() for one in plugins(tree)} == PLUGINS.keys()


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_every_field_of_a_plugin_that_is_set_is_implemented_and_no_other(name):
    configs = [one["config"] for tree in shipped() for one in plugins(tree) if one["name"] == name]
    assert {field for one in configs for field in set_in(one)} == {*implemented(PLUGINS[name])}


def test_every_name_the_shipped_lua_uses_is_implemented_and_no_other():
    texts = [path.read_text() for path in (ROOT / "roles/kong/files").glob("*.lua")]
    used = {name for text in texts for name in re.findall(r"\b(?:kong|ngx|json)(?:\.\w+)+", text)}
    names = {re.sub(r"^json\b", "cjson.safe", name) for name in used}
    assert names == {*FUNCTIONS, *VALUES}


def test_every_setting_of_the_container_is_implemented_and_no_other():
    settings.settings_of(environment())
    known = {*settings.FIXED, *settings.READ, *settings.WITHOUT_EFFECT}
    elsewhere = render.container("kong", overrides=REDIS_ELSEWHERE)["environment"]
    assert {name.removeprefix("KONG_").lower() for name in environment() | elsewhere} == known
