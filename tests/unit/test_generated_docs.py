"""Derived parts of the documentation are what their source says."""

import re

import pytest
from by_path import import_file
from tree import ROOT, catalogue

generate = import_file("docs/generate.py", "generate")


DERIVED = generate.derived()


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_derived_file_is_up_to_date(path):
    assert path.read_text() == DERIVED[path], "run `make docs`"


def test_verify_asks_for_every_flow_and_every_flow_is_known():
    asked = [flow for told in generate.flows().values() for flow in told]
    assert set(asked) == set(generate.reference.FLOWS)


@pytest.mark.parametrize("service", generate.reference.BEHIND)
def test_a_pin_that_is_said_to_be_behind_is_behind_by_more_than_a_patch(service):
    newest, _ = generate.reference.BEHIND[service]
    pinned = catalogue()[service]["image"].rpartition(":")[2]
    line = [tuple(map(int, re.findall(r"\d+", version)[:2])) for version in (pinned, newest)]
    assert line[0] < line[1]
