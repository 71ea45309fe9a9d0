"""What Ollama, its mirror and ComfyUI are given."""

import json
import re
from configparser import ConfigParser

import pytest
from render import container, hosts_running, render_role
from tables import cases


@pytest.mark.parametrize("service", ["comfyui", "ollama"])
def test_a_board_with_a_gpu_gets_it_and_a_node_without_one_no_trace_of_it(service):
    board, lab = container(service), container(service, inventory="lab")
    assert board["runtime"] == "nvidia" and board["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert "runtime" not in container(service, overrides={"docker_engine_runtimes": {}}), "no Jetson"
    assert not board["read_only"], "NVIDIA's hooks write into the root file system"
    assert "runtime" not in lab and lab["read_only"]
    assert lab["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void", "the image itself says `all`"
    assert not [name for name in lab["environment"] if name.startswith(("NVIDIA_DRIVER", "CUDA"))]


def test_the_engine_of_a_board_knows_the_runtime_that_its_container_asks_for():
    for host in hosts_running("ollama"):
        daemon = json.loads(render_role("docker_engine", host=host)["/etc/docker/daemon.json"])
        runtime = container("ollama", host=host).get("runtime", "runc")
        assert runtime in {"runc", *daemon.get("runtimes", {})}


@cases("path", {
    "the private key": "/id_ed25519",
    "a way out": "/v2/library/../manifests/latest",
    "hidden files": "/v2/library/.hidden/manifests/latest",
    "a list of tags": "/v2/library/phi3/manifests/",
    "a layer that is not whole": f"/v2/library/phi3/blobs/sha256:{'0a' * 32}-partial",
    "a digest that is none": "/v2/library/phi3/blobs/sha256:../../id_ed25519",
    "more folders than a name has": "/v2/a/b/c/manifests/latest",
})  # fmt: skip
def test_nothing_else_is_served(path):
    configuration = render_role("model_mirror")["/opt/aicluster/model_mirror/conf/nginx.conf"]
    # The syntax of its locations is that of Python, as far as these go.
    patterns = re.findall(r'location ~ "(.+)" \{', configuration)
    assert patterns and not [pattern for pattern in patterns if re.search(pattern, path)]


def test_the_manager_may_install_nothing_wherever_it_reads_its_settings():
    settings = ConfigParser()
    settings.read_string(render_role("comfyui")["/opt/aicluster/comfyui/conf/manager.ini"])
    assert settings["default"]["security_level"] == "strong"
    for place in ("user/default/ComfyUI-Manager", "user/__manager"):
        mount = f"/opt/aicluster/comfyui/conf/manager.ini:/opt/ComfyUI/{place}/config.ini:ro"
        assert mount in container("comfyui")["volumes"]
