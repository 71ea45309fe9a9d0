"""The stand-in for Kong is loaded, watched and told about health as Kong is."""

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
import yaml
from standin_kong import chat, kong, node
from standins.kong.kong_standin.config import EMPTY_HASH
from tree import ROOT

CHECKS = {"passive": {"unhealthy": {"tcp_failures": 1}}}


def text_of(tree):
    return yaml.safe_dump({"_format_version": "3.0"} | tree)


async def hash_of(client):
    return json.loads((await client.status("/status")).body)["configuration_hash"]


def talk(tree, conversation):
    async def run():
        async with kong(tree) as client:
            return await conversation(client)

    return asyncio.run(run())


# --- POST /config ---


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(lambda text: {"data": text, "headers": {"Content-Type": "text/yaml"}}, id="as the body"),
        pytest.param(lambda text: {"json": {"config": text}}, id="as a member of a JSON object"),
        pytest.param(lambda text: {"data": {"config": text}}, id="as a form field"),
        pytest.param(lambda text: {"json": yaml.safe_load(text)}, id="as a JSON file"),
    ],
)
def test_a_good_configuration_takes_over(how):
    async def conversation(client):
        before = await client.ask()
        answer = await client.admin("POST", "/config", **how(text_of(chat())))
        return before.status, answer.status, (await client.ask()).status, await hash_of(client)

    before, loaded, after, digest = talk({}, conversation)
    assert (before, loaded, after) == (404, 201, 503)
    assert digest != EMPTY_HASH


def test_a_bad_configuration_is_refused_with_reasons_and_the_old_one_stays():
    async def conversation(client):
        before = await hash_of(client)
        answer = await client.admin("POST", "/config", data=text_of(chat(retries=-1)))
        return answer, before == await hash_of(client)

    answer, same = talk(chat(), conversation)
    assert answer.status == 400
    assert json.loads(answer.body)["fields"] == {"services[1].retries": "value should be between 0 and 32767"}
    assert same


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 201), ("?check_hash=1", 304)],
    ids=["the same again is loaded again", "unless the hash is to be checked"],
)
def test_loading_the_same(query, status):
    async def conversation(client):
        body = text_of(chat())
        await client.admin("POST", "/config", data=body)
        return (await client.admin("POST", f"/config{query}", data=body)).status

    assert talk({}, conversation) == status


def test_requests_under_way_are_not_disturbed_by_a_load():
    async def run():
        slowly = standin_kong.sends(b"HTTP/1.1 200 OK\r\n\r\n", b"a", b"b", pause=0.1)
        async with node(slowly) as one, kong(chat((one.address, 1))) as client:
            under_way = asyncio.create_task(client.ask())
            await asyncio.sleep(0.05)
            await client.admin("POST", "/config", data=text_of({"upstreams": [{"name": "other"}]}))
            return await under_way

    answer = asyncio.run(run())
    assert (answer.status, answer.body) == (200, b"ab")


def test_a_load_ends_the_probes_of_what_is_gone():
    async def run():
        probes = {"active": {"healthy": {"interval": 0.02, "successes": 1}}}
        async with node() as one, kong(chat((one.address, 1), checks=probes), probing=True) as client:
            await asyncio.sleep(0.1)
            await client.admin("POST", "/config", data=text_of({"upstreams": [{"name": "other"}]}))
            before = len(one.seen)
            await asyncio.sleep(0.1)
            return before, len(one.seen)

    before, after = asyncio.run(run())
    assert before > 0
    assert after <= before + 1  # one probe may have been under way


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "PUT"])
def test_a_weight_cannot_be_changed_without_a_database(method):
    async def conversation(client):
        return await client.admin(method, "/upstreams/pool/targets/127.9.9.1:1", json={"weight": 0})

    answer = talk(chat(("127.9.9.1:1", 1)), conversation)
    assert answer.status == 405
    assert "when not using a database" in json.loads(answer.body)["message"]


# --- health ---


def test_health_is_shown_and_set_by_hand():
    async def conversation(client):
        states = []
        for state in (None, "unhealthy", "healthy"):
            if state:
                answer = await client.admin("PUT", f"/upstreams/pool/targets/127.9.9.1:1/{state}")
                assert answer.status == 204
            health = json.loads((await client.status("/upstreams/pool/health")).body)
            states.append([(t["target"], t["health"]) for t in health["data"]])
        return states

    targets = (("127.9.9.1:1", 80), ("127.9.9.2:1", 0))
    off = ("127.9.9.2:1", "HEALTHCHECKS_OFF")
    assert talk(chat(*targets, checks=CHECKS), conversation) == [
        [("127.9.9.1:1", "HEALTHY"), off],
        [("127.9.9.1:1", "UNHEALTHY"), off],
        [("127.9.9.1:1", "HEALTHY"), off],
    ]


def test_health_by_hand_needs_checks():
    async def conversation(client):
        return (await client.admin("PUT", "/upstreams/pool/targets/127.9.9.1:1/unhealthy")).status

    assert talk(chat(("127.9.9.1:1", 1)), conversation) == 400


def test_the_whole_upstream_has_a_health_too():
    async def conversation(client):
        return json.loads((await client.status("/upstreams/pool/health?balancer_health=1")).body)["data"][
            "health"
        ]

    assert talk(chat(("127.9.9.1:1", 1), checks=CHECKS), conversation) == "HEALTHY"


def test_the_upstreams_are_listed_by_name():
    async def conversation(client):
        return json.loads((await client.admin("GET", "/upstreams")).body)

    listed = talk(chat(), conversation)
    assert [upstream["name"] for upstream in listed["data"]] == ["pool"]


def test_an_unknown_upstream_is_a_404():
    async def conversation(client):
        return (await client.status("/upstreams/gone/health")).status

    assert talk(chat(), conversation) == 404


# --- readiness, and what the status port may not do ---


@pytest.mark.parametrize(
    ("tree", "status", "message"),
    [
        ({}, 503, "no configuration available (empty configuration present)"),
        (chat(), 200, "ready"),
    ],
    ids=["nothing is configured", "something is"],
)
def test_readiness(tree, status, message):
    async def conversation(client):
        return await client.status("/status/ready")

    answer = talk(tree, conversation)
    assert (answer.status, json.loads(answer.body)["message"]) == (status, message)


def test_the_status_port_changes_nothing():
    async def run():
        async with kong(chat()) as client:
            return (await client.status("/config", "POST")).status

    assert asyncio.run(run()) in (404, 405)


# --- the command ---


def command(tmp_path, *arguments, **environment):
    settings = {
        "KONG_DATABASE": "off",
        "KONG_PREFIX": str(tmp_path / "prefix"),
        "KONG_DECLARATIVE_CONFIG": str(tmp_path / "kong.yml"),
        "PYTHONPATH": str(ROOT / "lab/standins/kong"),
        "PATH": os.environ["PATH"],
    }
    return {"args": [sys.executable, "-m", "kong_standin", *arguments], "env": settings | environment}


@pytest.mark.parametrize(
    ("tree", "code", "said"),
    [
        pytest.param(chat(), 0, "parse successful", id="a good file"),
        pytest.param(chat(retries=-1), 1, "in 'services[1].retries': value should be", id="a bad file"),
    ],
)
def test_config_parse(tmp_path, tree, code, said):
    (tmp_path / "kong.yml").write_text(text_of(tree))
    result = subprocess.run(
        **command(tmp_path, "config", "parse", str(tmp_path / "kong.yml")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code
    assert said in result.stdout + result.stderr


def test_a_bad_file_at_the_start_is_the_end(tmp_path):
    (tmp_path / "kong.yml").write_text(text_of(chat(retries=-1)))
    result = subprocess.run(**command(tmp_path, "docker-start"), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "error parsing declarative config file" in result.stderr


def port_of(address):
    return int(address.rpartition(":")[2])


def configuration(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
        return json.load(answer)["configuration_hash"]


def eventually(what):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if result := what():
                return result
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError


def test_reload_takes_a_good_file_keeps_the_old_for_a_bad_one_and_always_says_it_did(tmp_path):
    path, port = tmp_path / "kong.yml", port_of(standin_kong.refusing())
    path.write_text(text_of(chat()))
    environment = {
        "KONG_STATUS_LISTEN": f"127.0.0.1:{port}", "KONG_PROXY_LISTEN": "off", "KONG_ADMIN_LISTEN": "off",
    }  # fmt: skip
    with subprocess.Popen(**command(tmp_path, "docker-start", **environment)) as process:
        try:
            first = eventually(lambda: configuration(port))
            path.write_text(text_of(chat(retries=2)))
            subprocess.run(**command(tmp_path, "reload"), check=True)
            second = eventually(lambda: found if (found := configuration(port)) != first else None)
            path.write_text(text_of(chat(retries=-1)))
            subprocess.run(**command(tmp_path, "reload"), check=True)
            time.sleep(0.3)
            assert configuration(port) == second
            assert subprocess.run(**command(tmp_path, "health"), check=False).returncode == 0
        finally:
            process.send_signal(signal.SIGQUIT)
        assert process.wait(timeout=10) == 0
    assert subprocess.run(**command(tmp_path, "health"), check=False, capture_output=True).returncode == 1
