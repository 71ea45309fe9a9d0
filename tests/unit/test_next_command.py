"""What a message tells a person to type: ssh_command and ansible_command."""

import re

import pytest
import tree
from ansible import constants
from next_command import ROOT, ansible_command, ssh_command

HOST = {"inventory_hostname": "pi51"}


@pytest.mark.parametrize(
    ("hostvars", "command"),
    [
        pytest.param({}, "ssh pi51", id="a host that is nothing but its name"),
        pytest.param({"ansible_user": "ansible"}, "ssh ansible@pi51", id="a user"),
        pytest.param({"ansible_host": "10.0.0.1"}, "ssh 10.0.0.1", id="an alias"),
        pytest.param({"ansible_port": 2222}, "ssh -p 2222 pi51", id="a port"),
        pytest.param(
            {"ansible_private_key_file": "/my keys/id"}, "ssh -i '/my keys/id' pi51", id="a key with a space"
        ),
        pytest.param(
            {
                "ansible_ssh_common_args": '-o ProxyCommand="ssh -W %h:%p door"',
                "ansible_ssh_extra_args": "-4",
            },
            "ssh -o 'ProxyCommand=ssh -W %h:%p door' -4 pi51",
            id="the way through another machine",
        ),
        pytest.param(
            {
                **{
                    "ansible_host": "a",
                    "ansible_port": 1,
                    "ansible_user": "b",
                    "ansible_private_key_file": "c",
                },
                **{"ansible_ssh_host": "d", "ansible_ssh_port": 2, "ansible_ssh_user": "e"},
                "ansible_ssh_private_key_file": "f",
            },
            "ssh -p 2 -i f e@d",
            id="of two names the one that Ansible prefers",
        ),
    ],
)
def test_a_node_is_reached_as_ansible_reaches_it(hostvars, command):
    assert ssh_command(HOST | hostvars) == command


def test_a_key_in_the_home_folder_is_found_behind_quotes(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert ssh_command(HOST | {"ansible_ssh_private_key_file": "~/.ssh/id"}) == "ssh -i /home/me/.ssh/id pi51"


@pytest.mark.parametrize(
    ("sources", "command"),
    [
        pytest.param(constants.DEFAULT_HOST_LIST, "ansible-playbook", id="those of ansible.cfg"),
        pytest.param(
            [f"{ROOT}/inventory/groups.yml", f"{ROOT}/inventory/lab"],
            "ansible-playbook -i inventory/groups.yml -i inventory/lab",
            id="others of the toolkit",
        ),
        pytest.param(["/srv/my site/hosts"], "ansible-playbook -i '/srv/my site/hosts'", id="one elsewhere"),
        pytest.param(["pi51,"], "ansible-playbook -i pi51,", id="names instead of a file"),
    ],
)
def test_a_playbook_is_run_on_the_nodes_of_this_run(sources, command):
    assert ansible_command(sources) == command


def test_no_message_makes_up_its_own_way_to_a_node():
    texts = {name: (tree.ROOT / name).read_text() for name in tree.named(".yml", below="roles")}
    assert not [name for name, text in texts.items() if re.search(r"ssh .*@\{\{", text)]
