"""The control node's way in: when it is missing and put back, and how it is found to be taken away."""

from typing import Any

import pytest
import render
from tree import load

NODE, CONTROL = "192.168.1.147", "192.168.1.234"
MARKS = load("roles/control_access/vars/main.yml")["__control_access_marks"]
MARK, BACKUP = MARKS
LOGIN = f'from="{CONTROL}",no-agent-forwarding ssh-ed25519 AAAA {MARK}\n'
LINE = LOGIN + f'from="{CONTROL}",restrict,command="x" ssh-ed25519 BBBB {BACKUP}\n'
COMING = "".join(f"# no key yet of {mark}\n" for mark in MARKS)
MINE = "ssh-ed25519 AAAA somebody@home\n"


PUT_BACK: dict[str, tuple[Any, ...]] = {
    "a node set up anew, without the file": ("", True),
    "the line was taken away": (MINE, True),
    "the line is there": (MINE + LINE, False),
    "the line of one key was taken away": (LOGIN, True),
    "their place is held for keys to come": (COMING + MINE, False),
    "the control node has another address": (LINE.replace(CONTROL, "192.168.1.2"), True),
    "a line of somebody else from there": (LINE.replace(BACKUP, "somebody"), True),
}


@pytest.mark.parametrize(("text", "wanted"), PUT_BACK.values(), ids=PUT_BACK)
def test_the_line_is_put_back_when(text, wanted):
    rendering = render.renderer("production", NODE)
    variables = rendering.variables("control_access", {"service": {}})
    provision = rendering.state("control_access", variables)["provision"]
    assert rendering.holds(provision["when"], variables, text) is wanted


def test_one_mark_finds_a_line_wherever_it_is_looked_for():
    keys = load("roles/control_node/vars/main.yml")["__control_node_keys"]
    assert [key["comment"] for key in keys.values()] == MARKS
    [cleanup] = load("playbooks/cleanup.yml")
    edits = [task.get("ansible.builtin.lineinfile") for task in cleanup["tasks"]]
    assert [edit["regexp"] for edit in edits if edit] == [f" {MARK}(-backup)?$"]
