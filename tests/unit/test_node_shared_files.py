"""JSON files that a node shares between us and others."""

import json

import pytest
from aicluster_node import shared_files, system
from node_half import deliver, deliver_shared, inspect, want_shared

pytestmark = pytest.mark.usefixtures("own_node")
NVIDIA, KATA = {"nvidia": {"path": "nvidia-container-runtime"}}, {"kata": {"path": "kata-runtime"}}
OURS = {"live-restore": True, "runtimes": NVIDIA}


@pytest.mark.parametrize("leave", [
    pytest.param(lambda path: deliver({}, remove=[path]), id="our part no longer belongs"),
    pytest.param(lambda _path: shared_files.restore({}), id="a cleanup"),
])  # fmt: skip
@pytest.mark.parametrize(("before", "between"), [
    pytest.param({}, OURS, id="an empty file"),
    pytest.param({"theirs": 1}, {**OURS, "theirs": 1}, id="a key of others"),
    pytest.param({"live-restore": False}, OURS, id="a key of ours with another value"),
    pytest.param({"live-restore": True}, OURS, id="a key of ours with our value"),
    pytest.param({"runtimes": KATA}, {**OURS, "runtimes": {**NVIDIA, **KATA}}, id="another runtime"),
    pytest.param({"runtimes": {"nvidia": {"path": "n", "runtimeArgs": []}}}, OURS, id="our runtime"),
    pytest.param({"runtimes": "x"}, OURS, id="a value where we want a mapping"),
])  # fmt: skip
def test_a_shared_file_is_afterwards_what_it_was_before_us(tmp_path, before, between, leave):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text(json.dumps(before))
    for ours in (OURS, {"log-driver": "local"}, OURS):
        assert inspect(want_shared(path, ours))["differing"][0]["reason"] == "content"
        deliver_shared(path, ours)
        assert inspect(want_shared(path, ours))["differing"] == []
    assert json.loads(path.read_text()) == between
    path.chmod(0o604)
    assert inspect()["leftover"] == [str(path)]
    leave(str(path))
    assert (json.loads(path.read_text()), path.stat().st_mode & 0o777) == (before, 0o604)


def test_what_was_there_before_is_known_however_often_a_run_is_cut_off(tmp_path, monkeypatch):
    path = tmp_path / "daemon.json"
    path.write_text('{"a": "theirs"}')
    replace = system.replace_file

    def cut_off_after(target, *rest):
        replace(target, *rest)
        if target == str(path):
            raise KeyboardInterrupt

    for ours in ({"a": 1}, {"a": 2, "b": 1}, {"b": 2}):
        monkeypatch.setattr(system, "replace_file", cut_off_after)
        with pytest.raises(KeyboardInterrupt):
            deliver_shared(path, ours)
    monkeypatch.setattr(system, "replace_file", replace)
    deliver({}, remove=[str(path)])
    assert json.loads(path.read_text()) == {"a": "theirs"}
    assert inspect()["leftover"] == []


def test_a_shared_file_that_is_not_json_is_not_overwritten(tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text("# mine")
    with pytest.raises(system.RefusedError, match=r"daemon.json: must be JSON.*correct it"):
        deliver_shared(path, {})
    assert path.read_text() == "# mine"
