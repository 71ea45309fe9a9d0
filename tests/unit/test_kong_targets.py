"""Kong is told of a target that it calls unhealthy although it answers; the stand-in takes that call."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

import aicluster_kong_targets
import pytest
import render
import yaml
from a_kit import check_of
from aicluster_verify import CheckError, Kit
from listening import Listening
from standin_kong import serving
from standins.kong.kong_standin.balancer import Address

FILES = render.render_role("kong")
SITE = json.loads(FILES["/opt/aicluster/checks/kong.json"])


class Node(BaseHTTPRequestHandler):
    """An AI node that answers its probe."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/version" else 404)
        self.end_headers()


class Beside(Kit):
    """The kit of a gateway whose Kong is the stand-in on this machine."""

    def __init__(self, ports: Sequence[int]) -> None:
        status = {"port": ports[1], "container": 8100, "published": "127.0.0.1"}
        super().__init__(
            {"node": "PI51", "services": {"kong": {"ports": {"status": status}}}, "cluster": []}, "r"
        )
        self.admin = ports[2]

    def execute(self, service: str, argv: Sequence[str], _stdin: str | None = None) -> str:
        assert service == "kong"
        here = [word.replace("/127.0.0.1/8001 ", f"/127.0.0.1/{self.admin} ") for word in argv]
        return subprocess.run(here, capture_output=True, text=True, check=True).stdout


async def beside_kong(targets: Sequence[str], use: Any) -> None:
    """Let `use` work with the kit and Kong's targets, all of which Kong calls unhealthy, and never probes."""
    tree = yaml.safe_load(FILES["/opt/aicluster/kong/secrets/kong.yml"])
    for pool in tree["upstreams"]:
        pool["targets"] = [{"target": one, "weight": 1, "tags": []} for one in targets]
        for kind in ("healthy", "unhealthy"):
            pool["healthchecks"]["active"][kind]["interval"] = 3600
    async with serving(yaml.safe_dump(tree)) as (server, _url):
        checkers = server.gateway.now.checkers
        for checker in checkers.values():
            for address in checker.wheel.addresses:
                address.available = checker.upstream.name != "ai-chat"
        kit = Beside([runner.addresses[0][1] for runner in server.runners])
        await asyncio.to_thread(use, kit, checkers["ai-chat"].wheel.addresses)


@pytest.fixture
def node() -> Iterator[str]:
    listening = Listening(Node)
    with listening:
        yield listening.url.removeprefix("http://")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_a_target_that_answers_all_the_while_is_told_to_be_healthy_and_no_other(node, no_waiting):
    def use(kit: Kit, addresses: list[Address]) -> None:
        assert aicluster_kong_targets.stuck(kit, SITE) == [("ai-chat", node)]
        # Longer than Kong needs to see two good probes.
        assert sum(no_waiting) > SITE["looks_every_s"] * 3
        aicluster_kong_targets.heal(kit, "ai-chat", node)
        assert [address.available for address in addresses] == [True, False]
        assert aicluster_kong_targets.stuck(kit, SITE) == []

    asyncio.run(beside_kong([node, "127.0.0.1:9"], use))


def test_the_timer_heals_and_verify_names_it(node, monkeypatch, tmp_path, capsys):
    def use(kit: Kit, addresses: list[Address]) -> None:
        check = check_of("kong")
        monkeypatch.setattr(check, "wanted", lambda: SITE)
        with pytest.raises(CheckError, match=f"{node} answers, but Kong calls it unhealthy in ai-chat"):
            check.check(kit)
        (tmp_path / "verify.json").write_text("{}")
        monkeypatch.setattr(aicluster_kong_targets, "ROOT", str(tmp_path))
        monkeypatch.setattr(aicluster_kong_targets, "Kit", lambda *_: kit)
        monkeypatch.setattr(aicluster_kong_targets, "wanted", lambda: SITE)
        assert aicluster_kong_targets.main() == 0
        assert addresses[0].available

    # `verify` first asks for a configuration.
    monkeypatch.setattr(check_of("kong"), "EMPTY", "")
    asyncio.run(beside_kong([node], use))
    assert f"{node} of ai-chat answers, and Kong called it unhealthy" in capsys.readouterr().out
