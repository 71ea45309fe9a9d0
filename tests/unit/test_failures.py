"""Why nodes failed is repeated where other nodes' output has buried it."""

import sys
from pathlib import Path

from programs import ansible

PLAY = """
- hosts: all
  gather_facts: false
  strategy: free
  tasks:
    - name: Run a program
      ansible.builtin.command: sh -c 'echo it broke >&2; exit 3'
      when: inventory_hostname == 'program'
    - name: Run a loop
      ansible.builtin.fail: {msg: "no {{ item }}"}
      loop: [bread, milk]
      when: inventory_hostname == 'loop'
    - name: Keep a secret
      ansible.builtin.fail: {msg: hush}
      no_log: true
      when: inventory_hostname == 'secret'
    - {name: Try, ignore_errors: true, ansible.builtin.fail: {msg: forgiven}}
- hosts: last
  gather_facts: false
  tasks:
    - {name: Go on, ansible.builtin.command: "true"}
    - {name: Fail last, ansible.builtin.fail: {msg: in sight}}
"""


def test_reasons_that_other_nodes_buried_are_repeated_after_the_recap(tmp_path: Path):
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    python = f"ansible_python_interpreter={sys.executable}"
    run = ansible(
        "ansible-playbook", str(play), "-i", "program,loop,secret,last,", "-c", "local", "-e", python
    )
    said = run.stdout.partition("PLAY RECAP")[2]
    assert run.returncode == 2
    assert "program failed: Run a program\n  non-zero return code\n  it broke\n" in said
    assert "loop failed: Run a loop\n  One or more items failed\n  no bread\n  no milk\n" in said
    assert "secret failed: Keep a secret\n  the output has been hidden" in said
    assert not [word for word in ("hush", "forgiven", "in sight") if word in said]
