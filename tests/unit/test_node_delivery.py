"""Files of a node: found when they differ, delivered all or none, removed when they no longer belong."""

import hashlib
import os

import pytest
from aicluster_node import delivery, files, state, system
from aicluster_node.answer import answer
from node_half import deliver, delivery_of, inspect, want
from tables import cases

pytestmark = pytest.mark.usefixtures("own_node")


@cases(("spoil", "reason"), {
    "somebody opened it to the world": (lambda path: path.chmod(0o666), "owner or mode 0666"),
    "a link took its place": (
        lambda path: (path.unlink(), path.symlink_to("/dev/null")), "not a regular file"),
    "its secrets folder": (lambda path: path.parent.chmod(0o770), "mode 0770 of its folder"),
    "the project's folder": (lambda path: path.parents[2].chmod(0o770), "mode 0770 of its folder"),
})  # fmt: skip
def test_drift_is_found_and_mended(tmp_path, spoil, reason):
    path = tmp_path / "stack" / "kong" / "secrets" / "key"
    deliver({path: b"x"})
    modes = [folder.stat().st_mode for folder in path.parents[:3]]
    spoil(path)
    [difference] = inspect(want(path, b"x"))["differing"]
    assert difference["reason"].startswith(reason)
    deliver({path: b"x"})
    assert inspect(want(path, b"x"))["differing"] == []
    assert [folder.stat().st_mode for folder in path.parents[:3]] == modes


@cases(("content", "difference"), {
    "an accepted content is right": (b"image", None),
    "any other differs": (b"garbage", {"reason": "content", "before": "garbage"}),
    "one too long for a diff is not shown": (
        b"x" * (files.DIFF_LIMIT_BYTES + 1), {"reason": "content", "before": None}),
})  # fmt: skip
def test_a_file_may_hold_any_content_that_is_accepted(tmp_path, content, difference):
    path = tmp_path / "stack" / ".env"
    deliver({path: content})
    found = inspect(want(path, b"llm", accept=[hashlib.sha256(b"image").hexdigest()]))["differing"]
    assert found == ([{"path": str(path), **difference}] if difference else [])


def test_a_link_in_the_place_of_a_file_never_leads_to_what_it_points_at(tmp_path):
    path, victim = tmp_path / "stack" / "conf", tmp_path / "victim"
    victim.write_bytes(b"somebody's own")
    victim.chmod(0o600)
    path.parent.mkdir()
    path.symlink_to(victim)
    with pytest.raises(system.RefusedError):
        deliver({path: b"new"}, validations={str(path): "false %s"})
    deliver({path: b"new"})
    assert (victim.read_bytes(), victim.stat().st_mode & 0o777) == (b"somebody's own", 0o600)
    assert path.read_bytes() == b"new"


@cases(("spoil", "why"), {
    "a folder where a file belongs": (lambda path: path.mkdir(parents=True), "env is a folder where a file"),
    "a file where its folder belongs": (lambda path: path.parent.touch(), "stack is no folder, and files"),
    "a link to a disk that is away": (lambda path: path.parent.symlink_to("/away"), "stack is no folder"),
})  # fmt: skip
def test_what_took_the_place_of_files_is_refused_by_name(tmp_path, spoil, why):
    path = tmp_path / "stack" / ".env"
    spoil(path)
    [found] = inspect(want(path, b"x"))["differing"]
    assert found["reason"] in ("missing", "not a regular file")
    with pytest.raises(system.RefusedError, match=why):
        deliver({path: b"x"})


def test_a_folder_in_the_place_of_a_file_that_no_longer_belongs_is_somebody_elses(tmp_path):
    path = tmp_path / "stack" / "conf"
    deliver({path: b"x"})
    path.unlink()
    path.mkdir()
    assert inspect()["leftover"] == []
    deliver({}, remove=[str(path)])
    assert path.is_dir()


def test_what_is_made_has_its_mode_whatever_the_umask_of_root(tmp_path):
    secret, others = tmp_path / "stack" / "kong" / "secrets" / "a", tmp_path / "etc" / "sysctl.d" / "b"
    before = os.umask(0o077)
    try:
        assert answer(delivery_of({secret: b"x", others: b"x"})) == {"changed": True}
    finally:
        os.umask(before)
    made = [secret.parents[1], tmp_path / "stack", tmp_path / "state", others.parent]
    assert {oct(folder.stat().st_mode & 0o777) for folder in made} == {"0o755"}
    assert oct(secret.parent.stat().st_mode & 0o777) == "0o500", "a secrets folder is for its one reader"
    assert {file.stat().st_mode & 0o777 for file in (secret, others)} == {0o640}


def test_a_unit_that_no_longer_belongs_is_stopped_before_its_file_and_metrics_go(tmp_path, monkeypatch):
    ran: list[list[str]] = []
    metrics = tmp_path / "aicluster_x_y.prom"
    monkeypatch.setattr(system, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(system, "METRICS", str(tmp_path))
    monkeypatch.setattr(system, "run", lambda argv: ran.append([*argv, str(metrics.exists())]))
    path, extension = tmp_path / "units/aicluster-x-y.timer", tmp_path / "units/theirs.service.d/x.conf"
    deliver({path: b"[Timer]", extension: b"[Service]", metrics: b"x 1"})
    deliver({}, remove=[str(path), str(extension)])
    assert not path.exists() and not extension.parent.exists() and path.parent.exists()
    assert ran == [["systemctl", "disable", "--now", "aicluster-x-y.timer", "True"]] and not metrics.exists()


def test_a_part_that_is_delivered_first_leaves_what_is_known_of_the_rest(tmp_path):
    rest, first = tmp_path / "stack" / "conf", tmp_path / "daemon"
    deliver({rest: b"x"})
    deliver({first: b"y"}, partial=True)
    assert sorted(state.read_state()["files"]) == sorted([str(rest), str(first)])
    assert inspect(want(first, b"y"), want(rest, b"x"))["leftover"] == []


def test_a_reaction_is_owed_until_it_was_carried_out_or_the_run_has_verified(tmp_path):
    deliver({tmp_path / "stack" / "conf": b"x"}, reactions=[["reload", "ssh"], ["restart", "docker"]])
    assert inspect()["pending"] == [["reload", "ssh"], ["restart", "docker"]]
    delivery.handled({"reactions": [["restart", "docker"]], "trials": []})
    assert inspect()["pending"] == [["reload", "ssh"]]
    assert inspect(provisioned_now={})["pending"] == []


def test_a_run_killed_before_the_files_are_in_place_still_owes_its_reactions(tmp_path, monkeypatch):
    path = tmp_path / "stack" / "conf"
    replace = system.replace_file

    def dies(target, *rest):
        if target == str(path):
            raise KeyboardInterrupt
        replace(target, *rest)

    monkeypatch.setattr(system, "replace_file", dies)
    with pytest.raises(KeyboardInterrupt):
        deliver({path: b"x"}, reactions=[["restart", "docker"]])
    found = inspect(want(path, b"x"))
    assert found["pending"] == [["restart", "docker"]]
    assert found["differing"][0]["reason"] == "missing"


def test_a_torn_state_file_is_as_good_as_none(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text('{"files": [')
    assert state.read_state()["files"] == []
