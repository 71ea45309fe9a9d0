"""The folder of a test says which nodes it runs on: those of a group, those that run a service, or all.

All, for the folder `all` and those of the roles that are the foundation of every node.

Expectations come from the inventory (fixture `node`), facts from the node (fixture `host`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import site_under_test as site
import testinfra

HERE = Path(__file__).parent
EVERYWHERE = {"all", "base"}


def nodes_for(folder: str) -> list[site.Node]:
    return [n for n in site.looked_at() if folder in EVERYWHERE or folder in n.groups or folder in n.services]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "node" in metafunc.fixturenames:
        chosen = nodes_for(Path(metafunc.module.__file__).relative_to(HERE).parts[0])
        metafunc.parametrize("node", chosen, ids=[node.name for node in chosen], scope="session")


@pytest.fixture(scope="session")
def connections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sockets = tmp_path_factory.mktemp("ssh")
    return {
        node.name: testinfra.get_host(
            f"ssh://{node.user}@{node.address}:{node.entry['ssh_port']}",
            sudo=True,
            ssh_identity_file=node.key or None,
            ssh_extra_args=node.ssh_args or None,
            controlpath=sockets / node.name,
        )
        for node in site.nodes()
    }


@pytest.fixture
def host(node: site.Node, connections: dict[str, Any]) -> Any:
    return connections[node.name]


@pytest.fixture
def inside(host: Any) -> Callable[..., Any]:
    """Runs a command in the container of a service: `inside("redis", "redis-cli", "ping")`."""

    def run(service: str, *argv: str) -> Any:
        words = " ".join(["%s"] * len(argv))
        command = f"{site.COMPOSE} exec -T {service} {words}"
        ran = host.run(command, *argv)
        # On a busy machine runc may lose the process before it starts: nothing has run then.
        return host.run(command, *argv) if "OCI runtime exec failed" in ran.stdout + ran.stderr else ran

    return run
