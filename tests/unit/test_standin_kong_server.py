"""The stand-in for Kong is loaded and watched as Kong is."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
import standin_kong
from standin_kong import ENVIRONMENT, chat, config_of, kong, node, text_of
from standins.kong.kong_standin.__main__ import main
from tree import ROOT

EMPTY = "empty configuration present"
HEALTH = "/upstreams/pool/health"
DRAINED = {"id": "?", "target": "127.9.9.2:1", "weight": 0, "tags": None}
USED = {"id": "?", "target": "127.9.9.1:1", "weight": 80, "tags": None}
BAD = text_of(chat(retries=-1))


async def asked(where, path, method="GET", tree=None):
    """Status and body of one answer."""
    checked = {"passive": {"unhealthy": {"tcp_failures": 1}}}
    targets = (("127.9.9.1:1", 80), ("127.9.9.2:1", 0))
    async with kong(chat(*targets, checks=checked) if tree is None else tree) as client:
        answer = await getattr(client, where)(path, method)
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        ("admin", HEALTH, [USED | {"health": "HEALTHY"}, DRAINED | {"health": "HEALTHCHECKS_OFF"}]),
        ("status", HEALTH, [USED | {"health": "HEALTHY"}, DRAINED | {"health": "HEALTHCHECKS_OFF"}]),
        ("status", "/upstreams/pool/targets", [USED, DRAINED]),
    ],
)
async def test_targets_are_listed(where, path, expected):
    status, body = await asked(where, path)
    assert (status, [one | {"id": "?"} for one in body["data"]]) == (200, expected)


@pytest.mark.parametrize(
    ("tree", "status", "message"),
    [
        pytest.param({}, 503, f"no configuration available ({EMPTY})", id="nothing is configured"),
        pytest.param(chat(), 200, "ready", id="something is"),
    ],
)
async def test_readiness(tree, status, message):
    assert await asked("status", "/status/ready", tree=tree) == (status, {"message": message})


@pytest.mark.parametrize(
    ("where", "method", "path", "status"),
    [
        ("status", "GET", "/upstreams/gone/health", 404),
        ("status", "POST", "/status/ready", 405),
        ("status", "POST", "/config", 404),
        ("admin", "POST", "/config", 404),
        ("admin", "GET", "/status/ready", 404),
    ],
)
async def test_what_nobody_asks_is_not_there(where, method, path, status):
    assert (await asked(where, path, method))[0] == status


async def test_requests_under_way_are_not_disturbed_by_a_load():
    slowly = standin_kong.sends(b"HTTP/1.1 200 OK\r\n\r\n", b"a", b"b", pause=0.1)
    async with node(slowly) as one, kong(chat((one.address, 1))) as client:
        under_way = asyncio.create_task(client.ask())
        await asyncio.sleep(0.05)
        client.gateway.load(config_of({}))
        assert (await under_way).body == b"ab"
        answer = await client.ask()
    assert (answer.status, json.loads(answer.body)["message"]) == (404, "no Route matched with those values")


async def test_a_load_ends_the_probes_of_what_is_gone():
    probes = {"active": {"healthy": {"interval": 0.02, "successes": 1}}}
    async with node() as one, kong(chat((one.address, 1), checks=probes)) as client:
        await asyncio.sleep(0.1)
        client.gateway.load(config_of({}))
        before = len(one.seen)
        await asyncio.sleep(0.1)
    assert before > 0
    assert len(one.seen) <= before + 1  # one probe may have been under way


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        pytest.param(["config", "parse"], text_of(chat()), "parse successful", id="a good file"),
        pytest.param(["config", "parse"], BAD, "in 'services[1].retries': value should be", id="a bad file"),
        pytest.param(["docker-start"], BAD, "in 'services[1].retries'", id="a bad file at start"),
        pytest.param(["reload"], BAD, "nginx not running in prefix", id="nobody to tell"),
        pytest.param(["migrations", "up"], BAD, "Usage: kong", id="another command"),
    ],
)
def test_the_command(monkeypatch, capsys, tmp_path, arguments, text, said):
    file = tmp_path / "kong.yml"
    file.write_text(text)
    for name, value in (ENVIRONMENT | {"KONG_DECLARATIVE_CONFIG": str(file)}).items():
        monkeypatch.setenv(name, value)
    if said == "parse successful":
        main([*arguments, str(file)])
        assert said in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, str(file)] if "parse" in arguments else arguments)
        assert said in str(ended.value.code)


def eventually(what):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if result := what():
                return result
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError


def test_reload_takes_a_good_file_keeps_the_old_for_a_bad_one_and_always_says_it_did(tmp_path):
    file, address = tmp_path / "kong.yml", standin_kong.refusing()
    environment = ENVIRONMENT | {
        "KONG_PREFIX": str(tmp_path / "prefix"), "KONG_DECLARATIVE_CONFIG": str(file),
        "KONG_STATUS_LISTEN": address, "PYTHONPATH": str(ROOT / "lab/standins/kong"),
        "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"],
    }  # fmt: skip
    command = [sys.executable, "-m", "kong_standin"]

    def configuration():
        with urllib.request.urlopen(f"http://{address}/status", timeout=2) as answer:
            return json.load(answer)["configuration_hash"]

    def reload(text):
        file.write_text(text)
        subprocess.run([*command, "reload"], env=environment, check=True)

    file.write_text(text_of(chat()))
    with subprocess.Popen([*command, "docker-start"], env=environment) as process:
        try:
            first = eventually(configuration)
            reload(text_of(chat(retries=2)))
            second = eventually(lambda: found if (found := configuration()) != first else None)
            reload(BAD)
            time.sleep(0.3)
            assert configuration() == second
        finally:
            process.send_signal(signal.SIGQUIT)
        assert process.wait(timeout=10) == 0
