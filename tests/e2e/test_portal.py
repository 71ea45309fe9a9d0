"""The portal page as a person sees it, in a real browser: what runs where, how it is, how to ask."""

import html
import re
import subprocess
import time
from collections.abc import Callable

import pytest
import site_under_test as site
from http_client import get
from tree import ROOT

pytestmark = pytest.mark.calm
IMAGE = "aicluster-lab/browser"
ARTIFACTS = ROOT / ".cache" / "results"
# Nodes look at their containers, and are asked, twice a minute.
NOTICED_WITHIN_S = 120
ITEM = re.compile(r'<li data-node="(\w+)" data-service="(\w+)"(?: data-state="(\w+)")?')
SUMMARY = re.compile(r'id="summary"[^>]*>([^<]+)<')
PHONE_PX = 390
MEASURE = """<script>addEventListener("load", () => {
  const root = document.documentElement, main = getComputedStyle(document.querySelector("main"));
  parent.document.body.dataset.measured = [innerWidth, root.scrollWidth, parseInt(main.paddingLeft)];
});</script>"""
MEASURED = re.compile(r'data-measured="([^"]*)"')


def browser(*arguments: str) -> str:
    """Run Chromium on the lab's network; returns what it prints."""
    command = ["docker", "run", "--rm", "--network=aicluster-lab", f"--volume={ARTIFACTS}:/out:ro", IMAGE]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    build = ["docker", "build", "--quiet", "--tag", IMAGE, str(ROOT / "lab" / "images" / "browser")]
    subprocess.run(build, check=True, capture_output=True)


def seen_once(gateway_url: str, fits: Callable[[str], bool]) -> str:
    """The page as soon as it fits, or as it is when the time for that is over."""
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while True:
        seen = browser("--dump-dom", f"{gateway_url}/")
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


def test_the_page_says_how_requests_are_balanced(page):
    shares = {node.name: node.entry["share"] for node in site.nodes() if node.entry["share"]}
    said = re.findall(r'class="share" data-node="(\w+)"> · (\d+)\W% of the requests<', html.unescape(page))
    assert {name: int(share) for name, share in said} == shares


def test_on_a_phone_nothing_sticks_out_and_the_text_keeps_off_the_edge(gateway_url):
    """In a frame of a phone's width: a window of Chromium's is never that narrow."""
    page = (
        get(f"{gateway_url}/").body.decode().replace("<head>", f'<head><base href="{gateway_url}/">{MEASURE}')
    )
    frame = f'<body><iframe width="{PHONE_PX}" height="800" srcdoc="{html.escape(page)}"></iframe>'
    (ARTIFACTS / "portal-phone.html").write_text(frame)
    [measured] = MEASURED.findall(browser("--dump-dom", "file:///out/portal-phone.html"))
    inner, scroll, padding = map(int, measured.split(","))
    assert inner == PHONE_PX
    assert scroll <= inner
    assert padding >= 12


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
