"""The pages that nginx serves on a node without a gateway."""

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
def nginx(node: site.Node) -> str:
    return f"http://{node.address}:{node.port('nginx', 'http')}"


@pytest.fixture(scope="module")
def login(node: site.Node, secrets: dict[str, str]) -> str:
    return f"{node.services['comfyui']['ingress']['user']}:{secrets['comfyui_password']}"


def test_the_page_of_the_node_lists_its_services_and_knows_their_states(node, nginx):
    page = get(f"{nginx}/").body.decode()
    assert set(re.findall(r'data-service="(\w+)"', page)) == set(node.services)
    assert get(f"{nginx}/portal/health").json()["status"] == "success"


def test_jupyterhub_is_behind_nginx_with_its_own_login(nginx):
    # From the short address over two redirects, which must lead through the same nginx.
    assert b"<title>JupyterHub</title>" in get(f"{nginx}/jupyter").body


def test_comfyui_does_not_open_with_a_wrong_password(nginx):
    assert get(f"{nginx}/comfyui/", login="operator:wrong").status == 401


def test_comfyui_answers_who_knows_the_password_or_names_the_profile_to_switch_to(node, nginx, login):
    answer = get(f"{nginx}/comfyui/api/queue", login=login)
    if "comfyui" in node.inactive:
        assert answer.status == 503
        assert "make profile TO=image" in answer.body.decode()
    else:
        assert set(answer.json()) == {"queue_running", "queue_pending"}
