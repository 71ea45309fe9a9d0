"""Fixtures of the tests that talk to a running site."""

import json
from typing import Any

import pytest
from tree import ROOT

CARD = ROOT / ".lab/card.json"


@pytest.fixture(scope="session")
def card() -> dict[str, Any]:
    """What the lab says of itself: gateway_url, api_key, ssh_key, subnet, nodes."""
    if not CARD.is_file():
        pytest.fail("no lab is running; build it with: make lab")
    told: dict[str, Any] = json.loads(CARD.read_text())
    return told


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """Every secret of the inventory, by name."""
    import site_under_test

    return site_under_test.secrets()


@pytest.fixture(scope="session")
def api_key(secrets: dict[str, str]) -> str:
    """The key of the consumer every site starts with."""
    return secrets["kong_api_key"]
