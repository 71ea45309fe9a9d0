"""The node's half as Ansible starts it: sent as sources."""

import base64
import json
import subprocess
import sys

import pytest
from aicluster_node import answer, system
from node_half import QUESTION, want
from tree import ROOT

from aicluster.engine.node_program import sources


def sent(request):
    """What Python ends with when Ansible gives it the module, as it does with `pipelining`."""
    encoded = base64.b64encode(json.dumps(request).encode()).decode()
    arguments = json.dumps({"request": encoded, "sources": sources()})
    program = (ROOT / "library/stack_node.py").read_text()
    program = program.replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", arguments)
    python = [sys.executable, "-I", "-"]
    return subprocess.run(python, input=program.encode(), capture_output=True, check=False)


def test_the_node_answers_whatever_a_request_holds(tmp_path):
    path = tmp_path / 'a "quoted" \\ näme\n\'\'\'"""'
    path.write_bytes(b"x")
    done = sent({**QUESTION, "files": [want(path, b"y")]})
    assert json.loads(done.stdout)["differing"] == [{"path": str(path), "reason": "content", "before": "x"}]


@pytest.mark.usefixtures("own_node")
def test_programs_of_a_node_speak_english_whatever_its_language(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    answer.answer({"verb": "hold", "run": {"run": "x"}})
    assert system.run(["sh", "-c", "echo $LC_ALL $LANGUAGE"]) == "C C\n"
