"""Fixtures of the tests that talk to a running site."""

import os

import pytest


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """Every secret of the inventory, by name."""
    import site_under_test as site

    return site.secrets()


@pytest.fixture(scope="session")
def api_key(secrets: dict[str, str]) -> str:
    """The key of the consumer every site starts with."""
    return secrets["kong_api_key"]


@pytest.fixture(scope="session")
def gateway_url() -> str:
    """Where clients of the site knock."""
    import site_under_test as site

    [gateway, *_] = [node for node in site.running("kong") if "nginx" in node.services]
    return f"http://{gateway.address}:{gateway.port('nginx', 'http')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave repetitions to `make test-full`, which sets AICLUSTER_FULL; look at the site before breaking it.

    Alerts of a site that has just been deployed calm down while others only look at it.
    """
    if "AICLUSTER_FULL" not in os.environ:
        left = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    """Return when a test runs: testinfra, what breaks nothing, what waits for calm, others, the last."""
    if "e2e" not in item.path.parts:
        return 0
    # A test that is left to `make test-full` may break what others of its module only look at.
    turns = {"last": 4, "full": 3, "looks": 1, "calm": 2}
    return next((turn for mark, turn in turns.items() if item.get_closest_marker(mark)), 3)
