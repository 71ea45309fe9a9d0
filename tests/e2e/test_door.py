"""The door of people to the pages of a node without a gateway."""

import re

import pytest
import site_under_test as site
from http_client import get

pytestmark = pytest.mark.looks


@pytest.fixture(scope="module")
def node() -> site.Node:
    [found, *_] = [node for node in site.running("nginx") if {"comfyui", "jupyterhub"} <= set(node.services)]
    return found


@pytest.fixture(scope="module")
def door(node: site.Node) -> str:
    return f"http://{node.address}:{node.port('nginx', 'http')}"


@pytest.fixture(scope="module")
def login(node: site.Node, secrets: dict[str, str]) -> str:
    return f"{node.services['comfyui']['ingress']['user']}:{secrets['comfyui_password']}"


def test_the_page_of_the_node_lists_its_services_and_knows_their_states(node, door):
    page = get(f"{door}/").body.decode()
    assert set(re.findall(r'data-service="(\w+)"', page)) == set(node.services)
    assert get(f"{door}/portal/health").json()["status"] == "success"


def test_jupyterhub_is_behind_the_door_with_its_own_login(door):
    # From the short address over two redirects, which must lead through the same door.
    assert b"<title>JupyterHub</title>" in get(f"{door}/jupyter").body


@pytest.mark.parametrize("wrong", [None, "operator:wrong"], ids=["no password", "a wrong one"])
def test_comfyui_opens_to_nobody_without_its_password(door, wrong):
    assert get(f"{door}/comfyui/", login=wrong).status == 401


def test_comfyui_answers_who_knows_the_password_or_says_in_which_profile_it_would(node, door, login):
    answer = get(f"{door}/comfyui/api/queue", login=login)
    if "comfyui" in node.asleep:
        assert answer.status == 503
        assert "make profile TO=image" in answer.body.decode()
    else:
        assert set(answer.json()) == {"queue_running", "queue_pending"}
