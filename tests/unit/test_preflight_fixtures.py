"""Each mistake in a site description has one message; each unusual but sound description has none."""

from pathlib import Path

import pytest
import yaml
from site_description import errors_of, fixtures, production, site_of

INVALID = fixtures("invalid")
VALID = fixtures("valid")


def sentence(path: Path) -> str:
    return path.stem.replace("-", " ")


def test_the_real_production_site_is_sound():
    assert errors_of(production()) == []


@pytest.mark.parametrize("path", VALID, ids=sentence)
def test_a_sound_description_is_accepted(path):
    assert errors_of(site_of(path)) == []


@pytest.mark.parametrize("path", INVALID, ids=sentence)
def test_a_mistake_is_named_with_its_rule_and_its_fix(path):
    assert errors_of(site_of(path)) == yaml.safe_load(path.read_text())["errors"]


@pytest.mark.parametrize("path", INVALID, ids=sentence)
def test_an_error_reads_object_value_rule_fix(path):
    for error in yaml.safe_load(path.read_text())["errors"]:
        subject, _, rest = error.partition(": ")
        assert subject, error
        assert "; " in rest, f"no fix: {error}"
        assert "\n" not in error


def test_all_mistakes_are_listed_at_once_and_always_in_the_same_order():
    site = site_of(INVALID[0])
    site["hosts"]["192.168.1.247"]["node_drained"] = "yes"
    site["hosts"]["192.168.1.204"]["node_name"] = "pi51"
    first = errors_of(site)
    assert len(first) == len(yaml.safe_load(INVALID[0].read_text())["errors"]) + 2
    assert errors_of(site) == first
