"""Files are checked before they are put in place, also by the programs in the containers that read them."""

import os

import pytest
from aicluster_node import staging, system
from programs import script

pytestmark = pytest.mark.usefixtures("own_node")


def test_a_checker_runs_like_its_service_but_alone_and_far_from_its_data():
    source = f"{system.STACK_ROOT}/kong/secrets"
    staged = {"type": "bind", "source": source, "target": "/kong/declarative"}
    settings = {"KONG_DATABASE": "off"}
    kept = {"image": "kong:3.9.3", "user": "64101:0", "environment": settings, "read_only": True}
    left_out = {"depends_on": {}, "networks": {"default": None}, "ports": [8000], "restart": "always"}
    data = {"type": "volume", "source": "data", "target": "/data", "volume": {}}
    engine = {"type": "bind", "source": "/run/docker.sock", "target": "/run/docker.sock"}
    volumes = [staged, data, engine]
    definition = {**kept, **left_out, "volumes": volumes, "command": ["-days=14d", "-path=/logs"]}
    made = staging.checker_of(definition, "/stage", "kong parse 'a file' @arguments@ -v")
    assert made.items() >= kept.items() and not set(left_out) & set(made)
    assert made["network_mode"] == "none"
    assert made["entrypoint"] == ["kong", "parse", "a file", "-days=14d", "-path=/logs", "-v"]
    staged_there = {**staged, "source": f"/stage{source}", "read_only": True}
    assert made["volumes"] == [staged_there, {"type": "tmpfs", "target": "/data"}]


def test_a_program_that_does_not_come_to_an_end_refuses(tmp_path, monkeypatch):
    script(tmp_path / "bin" / "docker", 'case "$*" in *" run "*) echo still reading; exec sleep 60 ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(staging, "CHECK_TIMEOUT_S", 0.5)
    said = staging.check_container("slow", {}, str(tmp_path), {"command": "slow", "files": ["/a"]})
    assert said == "/a of service slow was refused by `slow` (no end within 0 s): still reading"
