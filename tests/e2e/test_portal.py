"""The portal page as a person sees it, in a real browser: what runs where, how it is, how to ask."""

import re
import subprocess
import time
from collections.abc import Callable

import pytest
import site_under_test as site
from tree import ROOT

pytestmark = pytest.mark.calm
IMAGE = "aicluster-lab/browser"
# Nodes look at their containers, and are asked, twice a minute.
NOTICED_WITHIN_S = 120
ITEM = re.compile(r'<li data-node="(\w+)" data-service="(\w+)"(?: data-state="(\w+)")?')
SUMMARY = re.compile(r'id="summary"[^>]*>([^<]+)<')


def browser(url: str) -> str:
    """A page once its script has run, in Chromium on the lab's network."""
    command = ["docker", "run", "--rm", "--network=aicluster-lab", IMAGE, "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    build = ["docker", "build", "--quiet", "--tag", IMAGE, str(ROOT / "lab" / "images" / "browser")]
    subprocess.run(build, check=True, capture_output=True)


def seen_once(gateway_url: str, fits: Callable[[str], bool]) -> str:
    """The page as soon as it fits, or as it is when the time for that is over."""
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while True:
        seen = browser(f"{gateway_url}/")
        if fits(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(10)


@pytest.fixture(scope="module")
def page(gateway_url: str) -> str:
    """The page once its script has run, and its source has noticed that a test before this one is over."""
    return seen_once(
        gateway_url, lambda seen: not re.search("failed|unknown|starting", *SUMMARY.findall(seen))
    )


def test_every_service_of_every_node_is_listed_with_its_live_state_and_they_are_added_up(page):
    states = {(service, node): state for node, service, state in ITEM.findall(page)}
    assert set(states) == {(service, node.name) for node in site.nodes() for service in node.services}
    for node in site.nodes():
        for service in node.services:
            expected = "inactive" if service in node.inactive else "healthy"
            assert states[service, node.name] == expected, f"{service} on {node.name}"
    [text] = SUMMARY.findall(page)
    assert re.match(r"\d+ of \d+ services are healthy", text)
    assert "failed" not in text and "unknown" not in text


def states_on(node: site.Node, seen: str) -> set[str]:
    return {state for name, _service, state in ITEM.findall(seen) if name == node.name}


def test_nothing_is_known_of_a_node_that_is_there_but_whose_exporter_is_not(gateway_url):
    [node, *_] = site.running("control_node")
    unit = node.services["node_exporter"]["unit"]
    site.shell(node, f"systemctl stop {unit}")
    try:
        seen = seen_once(gateway_url, lambda seen: states_on(node, seen) == {"unknown"})
    finally:
        site.shell(node, f"systemctl start {unit}")
    assert states_on(node, seen) == {"unknown"}
