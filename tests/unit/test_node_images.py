"""Images of a node: what registries say of them, and pulling them."""

import base64
import json

import pytest
from aicluster_node import docker, images
from node_half import an_engine

pytestmark = pytest.mark.usefixtures("own_node")


def test_a_registry_that_does_not_answer_is_asked_once(tmp_path):
    missing = ["gone:5000/a:1", "gone:5000/b:1"]
    error = (500, {"message": "dial tcp: connection refused"})
    answers = {f"/distribution/{image}/json": error for image in missing}
    with an_engine(tmp_path / "docker.sock", answers) as asked:
        found = images.missing_images(missing, True)
    assert [answer["message"] for answer in found.values()] == ["dial tcp: connection refused"] * 2
    assert len([request for request in asked if "/distribution/" in request]) == 1


def test_the_login_of_root_is_shown_to_the_registry_it_is_for(tmp_path):
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "logins.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    with an_engine(tmp_path / "docker.sock", {}) as asked:
        images.ask_registry("ghcr.io/a/b:1")
        images.ask_registry("redis:8")
    with_login, without = [request for request in asked if request]
    shown = with_login.partition("X-Registry-Auth: ")[2].split()[0]
    login = {"username": "me", "password": "secret", "serveraddress": "ghcr.io"}
    assert json.loads(base64.urlsafe_b64decode(shown)) == login
    assert "X-Registry-Auth" not in without


@pytest.mark.parametrize(("file", "content"), [
    pytest.param("logins.json", {"credsStore": "pass"}, id="a helper program keeps the logins"),
    pytest.param("daemon.json", {"registry-mirrors": ["http://m"]}, id="a pull also uses a mirror"),
])  # fmt: skip
def test_what_a_question_cannot_tell_is_left_to_the_pull(tmp_path, file, content):
    (tmp_path / file).write_text(json.dumps(content))
    assert images.ask_registry("redis:8")["status"] is None


def test_an_image_that_an_engine_has_once_it_runs_is_not_pulled(tmp_path, monkeypatch):
    monkeypatch.setattr(docker, "compose_version", lambda: "2.26.1")
    monkeypatch.setattr(images, "pull_one", lambda _image: {"status": 200})
    with an_engine(tmp_path / "docker.sock", {"/images/redis:8/json": (200, {})}):
        assert list(images.pull({"images": ["redis:8", "nginx:1"]})["images"]) == ["nginx:1"]
