"""What services that compute on a GPU are given, and the engine of their nodes."""

import json

import pytest
from render import container, hosts_running, render_role


@pytest.mark.parametrize("service", ["comfyui", "ollama"])
def test_a_board_with_a_gpu_gets_it_and_a_node_without_one_no_trace_of_it(service):
    board, lab = container(service), container(service, inventory="lab")
    assert board["runtime"] == "nvidia" and board["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert not board["read_only"], "NVIDIA's hooks write into the root file system"
    assert "runtime" not in lab and lab["read_only"]
    assert lab["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void", "the image itself says `all`"
    assert not [name for name in lab["environment"] if name.startswith(("NVIDIA_DRIVER", "CUDA"))]


def test_the_engine_of_a_board_knows_the_runtime_that_its_container_asks_for():
    for host in hosts_running("ollama"):
        daemon = json.loads(render_role("docker_engine", host=host)["/etc/docker/daemon.json"])
        runtime = container("ollama", host=host).get("runtime", "runc")
        assert runtime in {"runc", *daemon.get("runtimes", {})}
