"""What Ollama, its mirror and ComfyUI are given, and what ComfyUI starts with."""

import json
import re
from configparser import ConfigParser
from contextlib import nullcontext

import pytest
from by_path import import_file
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


BIN = "roles/comfyui/templates/opt/aicluster/comfyui/bin/start.py"
start = import_file(BIN, "comfyui_start")
OLD, NEW = "user/default/ComfyUI-Manager/config.ini", "user/__manager/config.ini"
STRICT = "[default]\nsecurity_level = strong\n"


@pytest.mark.parametrize("path", [OLD, NEW])
def test_the_manager_may_install_nothing_and_is_reached_in_a_newer_image_by_one_variable(path):
    settings = ConfigParser()
    settings.read_string(render_role("comfyui")["/opt/aicluster/comfyui/conf/manager.ini"])
    assert settings["default"]["security_level"] == "strong"
    found = container("comfyui", overrides={"comfyui_manager_config": path})
    assert f"/opt/aicluster/comfyui/conf/manager.ini:/opt/ComfyUI/{path}:ro" in found["volumes"]
    assert found["command"][0] == path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comfy").mkdir()
    source = 'parser.add_argument("--lowvram", action="store_true")\ngroup.add_argument(\'--cpu\')\n'
    (tmp_path / "comfy/cli_args.py").write_text(source)
    return tmp_path


def manager(folder, source, config=OLD, level=STRICT):
    """Put a ComfyUI-Manager with this source into the folder, and its settings where they are mounted."""
    code = folder / "custom_nodes/ComfyUI-Manager/glob/manager_core.py"
    code.parent.mkdir(parents=True)
    code.write_text(source)
    settings = folder / config
    settings.parent.mkdir(parents=True)
    settings.write_text(level)


@pytest.fixture
def started(monkeypatch):
    """The command lines that take the place of the program."""
    found: list[list[str]] = []
    monkeypatch.setattr(start.os, "execv", lambda _program, argv: found.append(argv[1:]))
    return found


@cases(("source", "config", "level", "reason"), {
    "a new manager, settings where it reads them": ("'__manager'", NEW, STRICT, ""),
    "a new manager, old place": ("'__manager'", OLD, STRICT, f"comfyui_manager_config: {NEW}"),
    "an old manager, new place": ("'default'", NEW, STRICT, f"comfyui_manager_config: {OLD}"),
    "the image's own level": ("'default'", OLD, "[default]\nsecurity_level = weak\n", "is weak"),
    "settings without a level": ("'default'", OLD, "", "is missing"),
})  # fmt: skip
def test_comfyui_starts_only_when_its_manager_is_strict(folder, started, source, config, level, reason):
    manager(folder, source, config, level)
    with pytest.raises(SystemExit, match=reason) if reason else nullcontext():
        start.main([config, "", "--listen", "0.0.0.0"])
    assert bool(started) is not bool(reason)


@cases(("optional", "passed"), {
    "a switch it does not know is left out": ("--disable-dynamic-vram", []),
    "one it knows is passed on": ("--cpu,--disable-dynamic-vram", ["--cpu"]),
    "none": ("", []),
})  # fmt: skip
def test_only_switches_the_version_knows_are_passed_on(folder, started, optional, passed):
    manager(folder, "'default', 'ComfyUI-Manager'")
    start.main([OLD, optional, "--listen", "0.0.0.0"])
    assert started == [["main.py", "--listen", "0.0.0.0", *passed]]
