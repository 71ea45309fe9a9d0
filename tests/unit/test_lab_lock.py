"""A lab is one user's, and one command at a time works on it."""

import os
import threading

import pytest
from aicluster_lab.errors import LabError
from aicluster_lab.lock import held, require_owner


def test_the_second_command_waits_for_the_first(tmp_path, capsys):
    order = []

    def second():
        with held(tmp_path):
            order.append("second")

    with held(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(timeout=0.3)
        order.append("first")
    waiting.join(timeout=5)
    assert order == ["first", "second"]
    assert "waiting" in capsys.readouterr().out


def test_another_users_lab_is_refused_by_both_names(tmp_path, monkeypatch):
    require_owner(tmp_path, tmp_path / "missing")
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(LabError, match=rf"belongs to user {owner}, this is user {owner + 1}"):
        require_owner(tmp_path)
