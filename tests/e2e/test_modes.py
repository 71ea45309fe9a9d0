"""A node with modes runs one set of its services at a time, and is switched without losing a request."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import site_under_test as site
from http_client import post
from verified import verify

COMPOSE = "docker compose --project-directory /opt/aicluster"


def switch(node: site.Node, mode: str) -> site.Run:
    return site.run_playbook("playbooks/mode.yml", "--limit", node.address, "-e", f"to={mode}")


@pytest.fixture(scope="module")
def node() -> Iterator[site.Node]:
    [found] = [node for node in site.nodes() if node.entry["modes"]]
    yield found
    switch(found, found.entry["mode"])


def running(node: site.Node) -> set[str]:
    listed = "docker ps --format '{{.Label \"aicluster.service\"}}'"
    return set(site.shell(node, listed).split())


@contextlib.contextmanager
def stopped(node: site.Node, services: Sequence[str]) -> Iterator[None]:
    """These services end as by an accident, and are healthy again afterwards."""
    names = " ".join(services)
    site.shell(node, f"{COMPOSE} kill {names}")
    try:
        yield
    finally:
        # Longer than the slowest of them is allowed.
        site.shell(node, f"{COMPOSE} up --detach --wait --wait-timeout 420 {names}")


@pytest.mark.parametrize("mode", ["image", "quality", "llm"])
def test_every_mode_works_only_its_services_run_and_one_that_stops_is_named(node, mode):
    switched = switch(node, mode)
    assert switched.code == 0, switched.output
    modes = node.entry["modes"]
    sometimes = {service for services in modes.values() for service in services}
    assert running(node) & sometimes == set(modes[mode])
    verdict = verify()
    assert verdict.ok, verdict.report["failures"]
    states = verdict.states()
    for service in sometimes:
        expected = "ok" if service in modes[mode] else "asleep"
        assert states[service, node.name] == expected, service
    with stopped(node, modes[mode]):
        broken = verify().broken
    assert {(service, node.name) for service in modes[mode]} <= broken


def test_a_service_of_another_mode_that_somebody_started_is_named_with_what_stops_it(node):
    assert switch(node, "llm").code == 0
    site.shell(node, f"{COMPOSE} up --detach comfyui")
    failure = verify().failure("comfyui", node.name)
    site.shell(node, failure["next"])
    assert "comfyui" not in running(node)


def test_the_next_run_of_the_site_leaves_the_mode_alone(node):
    assert switch(node, "image").code == 0
    awake = running(node)
    run = site.run_site()
    assert run.code == 0, run.output
    assert run.changed == {one.address: 0 for one in site.nodes()}
    assert running(node) == awake


def test_chat_goes_on_while_the_node_leaves_the_pool(node, gateway_url, api_key):
    assert switch(node, "llm").code == 0
    question = {"messages": [{"role": "user", "content": "hello"}], "stream": False}
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(switch, node, "image")
        statuses = []
        while not leaving.done():
            statuses.append(post(f"{gateway_url}/api/v1/chat", question, api_key).status)
    assert leaving.result().code == 0, leaving.result().output
    assert statuses and set(statuses) == {200}


def test_a_mode_the_node_does_not_have_is_refused_by_name(node):
    refused = switch(node, "x")
    assert refused.code != 0
    assert f"mode x of {node.name}: must be one of" in refused.output
