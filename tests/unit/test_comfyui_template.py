"""What ComfyUI is told, and what it starts with."""

from configparser import ConfigParser
from contextlib import nullcontext
from typing import Any

import pytest
import render
from by_path import import_file

BIN = "roles/comfyui/templates/opt/aicluster/comfyui/bin/start.py"
start = import_file(BIN, "comfyui_start")
OLD, NEW = "user/default/ComfyUI-Manager/config.ini", "user/__manager/config.ini"
STRICT = "[default]\nsecurity_level = strong\n"


def comfyui(**where: Any) -> dict[str, Any]:
    return render.container("comfyui", **where)


def test_the_manager_may_install_nothing_and_is_reached_in_a_newer_image_by_one_variable():
    files = render.render_role("comfyui")
    settings = ConfigParser()
    settings.read_string(files["/opt/aicluster/comfyui/conf/manager.ini"])
    assert settings["default"]["security_level"] == "strong"
    mounted = f"/opt/aicluster/comfyui/conf/manager.ini:/opt/ComfyUI/{OLD}:ro"
    assert mounted in comfyui()["volumes"]
    newer = comfyui(overrides={"comfyui_manager_config": NEW})
    assert f"/opt/aicluster/comfyui/conf/manager.ini:/opt/ComfyUI/{NEW}:ro" in newer["volumes"]
    assert newer["command"][0] == NEW


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


MANAGERS: dict[str, tuple[Any, ...]] = {
    "a new manager, settings where it reads them": ("'__manager'", NEW, STRICT, ""),
    "a new manager, old place": ("'__manager'", OLD, STRICT, f"comfyui_manager_config: {NEW}"),
    "an old manager, new place": ("'default'", NEW, STRICT, f"comfyui_manager_config: {OLD}"),
    "the image's own level": ("'default'", OLD, "[default]\nsecurity_level = weak\n", "is weak"),
    "settings without a level": ("'default'", OLD, "", "is missing"),
}


@pytest.fixture
def started(monkeypatch):
    """The command lines that take the place of the program."""
    found: list[list[str]] = []
    monkeypatch.setattr(start.os, "execv", lambda _program, argv: found.append(argv[1:]))
    return found


@pytest.mark.parametrize(("source", "config", "level", "reason"), MANAGERS.values(), ids=MANAGERS)
def test_comfyui_starts_only_when_its_manager_is_strict(folder, started, source, config, level, reason):
    manager(folder, source, config, level)
    with pytest.raises(SystemExit, match=reason) if reason else nullcontext():
        start.main([config, "", "--listen", "0.0.0.0"])
    assert bool(started) is not bool(reason)


@pytest.mark.parametrize(("optional", "passed"), [
    pytest.param("--disable-dynamic-vram", [], id="a switch it does not know is left out"),
    pytest.param("--cpu,--disable-dynamic-vram", ["--cpu"], id="one it knows is passed on"),
    pytest.param("", [], id="none"),
])  # fmt: skip
def test_only_switches_the_version_knows_are_passed_on(folder, started, optional, passed):
    manager(folder, "'default', 'ComfyUI-Manager'")
    start.main([OLD, optional, "--listen", "0.0.0.0"])
    assert started == [["main.py", "--listen", "0.0.0.0", *passed]]
