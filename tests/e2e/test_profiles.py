"""A node with profiles runs one set of its services at a time, and is switched without losing a request.

Each profile is entered once, and everything that needs it is tested meanwhile: in `image` a picture through
all of it, client -> gateway -> ComfyUI, its progress, and the object in the store.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlencode

import http_client
import pictures
import pytest
import site_under_test as site
from http_client import post
from pictures import Job
from verified import all_is_healthy, verify

Test = TypeVar("Test", bound=Callable[..., object])
[NODE] = [node for node in site.nodes() if node.entry["profiles"]]
PROFILES: dict[str, list[str]] = NODE.entry["profiles"]
SOMETIMES = {service for services in PROFILES.values() for service in services}
# The node's own profile last: it is left in it.
ORDER = sorted(PROFILES, key=lambda profile: (profile == NODE.entry["profile"], profile))
PNG = b"\x89PNG\r\n\x1a\n"
# A picture is moved once it has lain there for a while; a pass may just have missed it.
SPARE_S = 60


def in_profiles(*profiles: str) -> Callable[[Test], Test]:
    """Have a test run while the node is in each of these."""
    parametrized = pytest.mark.parametrize("entered", profiles, indirect=True)
    return lambda test: pytest.mark.usefixtures("entered")(parametrized(test))


in_image_profile = in_profiles("image")


@dataclass(frozen=True)
class Entered:
    """A profile the node was switched to, and what clients of the chat were answered meanwhile."""

    profile: str
    statuses: list[int]


def switch(profile: str) -> site.Run:
    return site.run_playbook("playbooks/profile.yml", "--limit", NODE.address, "-e", f"to={profile}")


@pytest.fixture(scope="module")
def entered(request: pytest.FixtureRequest, gateway_url: str, api_key: str) -> Entered:
    question = {"messages": [{"role": "user", "content": "hello"}], "stream": False}
    statuses = []
    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(switch, request.param)
        while not switching.done():
            statuses.append(post(f"{gateway_url}/api/v1/chat", question, api_key).status)
    switching.result().succeeded()
    return Entered(request.param, statuses)


@pytest.fixture(scope="module", autouse=True)
def left_in_its_own_profile() -> Iterator[None]:
    yield
    own = NODE.entry["profile"]
    if f"COMPOSE_PROFILES={own}" not in site.shell(NODE, "cat /opt/aicluster/.env"):
        switch(own).succeeded()


def running() -> set[str]:
    listed = "docker ps --format '{{.Label \"aicluster.service\"}}'"
    return set(site.shell(NODE, listed).split())


def test_a_profile_the_node_does_not_have_is_refused_by_name():
    refused = switch("x")
    assert refused.code != 0
    assert f"profile x of {NODE.name}: must be one of" in refused.output


@in_profiles(*ORDER)
def test_chat_goes_on_while_the_node_changes_its_profile(entered):
    assert entered.statuses and set(entered.statuses) == {200}


@in_profiles(*ORDER)
def test_only_the_services_of_the_profile_run_and_are_healthy(entered):
    assert running() & SOMETIMES == set(PROFILES[entered.profile])
    verdict = all_is_healthy()
    states = verdict.states()
    for service in SOMETIMES:
        expected = "healthy" if service in PROFILES[entered.profile] else "inactive"
        assert states[service, NODE.name] == expected, service


@in_profiles(*ORDER)
@pytest.mark.parametrize(("service", "path"), [
    ("comfyui", "image/queue"), ("comfyui", "image/view?filename=x"), ("comfyui", "image/history"),
    ("sonarqube", "code/quality/api/system/status"),
])  # fmt: skip
def test_the_gateway_names_the_profile_of_a_service_that_sleeps(entered, service, path, gateway_url, api_key):
    [profile] = [name for name, services in PROFILES.items() if service in services]
    if profile != entered.profile:
        answer = http_client.get(f"{gateway_url}/api/v1/{path}", api_key)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        assert json.loads(answer.body)["error"].endswith(f"to switch: make profile TO={profile}")


@in_image_profile
def test_the_next_run_of_the_site_leaves_the_profile_alone():
    before = running()
    run = site.run_site().succeeded()
    assert run.changed == {one.address: 0 for one in site.nodes()}
    assert running() == before


@pytest.fixture(scope="module")
def url(entered: Entered, gateway_url: str, api_key: str) -> str:
    """The way to images, as soon as the gateway knows that there is one."""
    assert entered.profile == "image"
    way = f"{gateway_url}/api/v1/image"
    pictures.wait_for_comfyui(way, api_key)
    return way


@pytest.fixture(scope="module")
def job(url: str, api_key: str) -> Job:
    return pictures.order(url, api_key)


@in_image_profile
def test_the_client_that_queued_a_job_sees_it_run_and_gets_its_picture(job):
    kinds = [event["type"] for event in job.events]
    assert kinds[0] == "status"
    assert kinds.index("execution_start") < kinds.index("progress") < kinds.index("executed")
    assert kinds.count("progress") == pictures.STEPS
    assert job.previews, "no preview on the way"
    of_the_job = [event["data"]["prompt_id"] for event in job.events if event["type"] != "status"]
    assert set(of_the_job) == {job.prompt_id}
    assert job.picture.status == 200
    assert job.picture.body.startswith(PNG)
    assert job.picture.headers["X-AI-Node"] == NODE.name


@in_image_profile
@pytest.mark.parametrize("key", [None, "not-the-key"], ids=["no key", "a wrong key"])
def test_without_the_key_no_job_is_taken_and_nothing_is_heard(url, key):
    assert http_client.get(f"{url}/ws?clientId=stranger", key).status == 401
    assert http_client.post(url, {"prompt": pictures.graph("stranger")}, key).status == 401


def in_the_store(command: str) -> str:
    """What `mc ...` prints in the object store, signed in as its own user; `user` is the alias."""
    sign_in = '. /opt/aicluster/bin/sign-in; sign_in user minio "$(secret_of minio)"'
    inside = shlex.quote(f"{sign_in}; {command}")
    [store] = site.running("minio")
    return site.shell(store, f"{site.COMPOSE} exec -T minio sh -c {inside}")


def objects(name: str) -> list[str]:
    """The keys in the bucket of pictures whose last part this is."""
    listed = [json.loads(line) for line in in_the_store("mc ls --recursive --json user/images").splitlines()]
    return [entry["key"] for entry in listed if entry["key"].rpartition("/")[2] == name]


@pytest.fixture
def moved(job: Job) -> Iterator[str]:
    """The object of the picture, waited for; it is removed afterwards."""
    rests = site.setting(NODE, "comfyui_outputs", "comfyui_outputs_min_age_s")
    pauses = site.setting(NODE, "comfyui_outputs", "comfyui_outputs_interval_s")
    name = job.image["filename"]
    site.wait_until(lambda: objects(name), rests + pauses + SPARE_S, f"{name} did not come into the bucket")
    [key] = objects(name)
    yield key
    in_the_store(f"mc rm user/images/{shlex.quote(key)}")


@in_image_profile
def test_the_picture_becomes_an_object_in_the_store_and_leaves_its_node(job, moved, url, api_key):
    assert moved.startswith(f"{NODE.name}/")
    [digest, *_] = in_the_store(f"mc cat user/images/{shlex.quote(moved)} | sha256sum").split()
    assert digest == sha256(job.picture.body).hexdigest(), "another picture"
    assert http_client.get(f"{url}/view?{urlencode(job.image)}", api_key).status == 404


WAKES = ("-e", json.dumps({"site_wake_on_request": True, "profile_wake_idle_minutes": 1}))
# A refused try waits as long as the first; each switch has its minute to drain.
BACK_WITHIN_S = 300


@pytest.fixture
def wakes() -> Iterator[None]:
    """The site switches profiles for requests; afterwards it is as before."""
    for name in ("playbooks/secrets.yml", "site.yml"):
        site.run_playbook(name, *WAKES).succeeded()
    yield
    site.run_site().succeeded()


@pytest.mark.full
@in_profiles(NODE.entry["profile"])
@pytest.mark.usefixtures("wakes")
def test_requests_wake_a_profile_together_a_run_leaves_it_and_an_idle_node_goes_back(
    entered, gateway_url, api_key
):
    with ThreadPoolExecutor(3) as pool:
        url, waits_s = f"{gateway_url}/api/v1/image/queue", 200
        asked = [pool.submit(lambda: http_client.get(url, api_key, timeout_s=waits_s)) for _ in range(3)]
    assert [one.result().status for one in asked] == [200] * 3, [one.result().body for one in asked]
    assert running() & SOMETIMES == set(PROFILES["image"])
    assert "# woken by a request" in site.shell(NODE, "cat /opt/aicluster/.env")
    run = site.run_site(*WAKES).succeeded()
    assert run.changed == {one.address: 0 for one in site.nodes()}
    own = set(PROFILES[entered.profile])
    site.wait_until(lambda: running() & SOMETIMES == own, BACK_WITHIN_S, "the node stays awake", 5)


# Those of its own profile: test_verify.py. The next profile leaves the stopped ones inactive.
@in_profiles(*ORDER[:-1])
def test_a_service_of_the_profile_that_stops_is_named(entered):
    services = PROFILES[entered.profile]
    site.shell(NODE, f"{site.COMPOSE} kill {' '.join(services)}")
    assert {(service, NODE.name) for service in services} <= verify("--limit", NODE.address).failed


@in_profiles(NODE.entry["profile"])
def test_a_service_of_another_profile_that_somebody_started_is_named_with_what_stops_it():
    site.shell(NODE, f"{site.COMPOSE} up --detach comfyui")
    failure = verify("--limit", NODE.address).failure("comfyui", NODE.name)
    site.shell(NODE, failure["next"])
    assert "comfyui" not in running()
