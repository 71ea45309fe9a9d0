"""What a message tells a person to type: ssh_command and ansible_command."""

import pytest
from adapters import ssh_command
from ansible import constants, context
from ansible.utils.context_objects import CLIArgs
from tables import cases

from aicluster.site import commands
from aicluster.site.commands import ROOT

HOST = {"inventory_hostname": "pi51"}
OWN = list(constants.DEFAULT_HOST_LIST)


def ansible_command(sources: list[str], ask_vault: bool = False) -> str:
    return commands.ansible_command(sources, context.CLIARGS, constants, ask_vault)


@pytest.fixture
def given(monkeypatch):
    return lambda options: monkeypatch.setattr(context, "CLIARGS", CLIArgs(options))


@cases(("hostvars", "environment", "options", "command"), {
    "the way through another machine": (
        {"ansible_ssh_common_args": '-o ProxyCommand="ssh -W %h:%p jump"', "ansible_ssh_extra_args": "-4"},
        {}, {}, "ssh -o 'ProxyCommand=ssh -W %h:%p jump' -4 pi51"),
    "of two names the one that Ansible prefers": (
        {"ansible_host": "a", "ansible_port": 1, "ansible_user": "b", "ansible_private_key_file": "c",
         "ansible_ssh_host": "d", "ansible_ssh_port": 2, "ansible_ssh_user": "e",
         "ansible_ssh_private_key_file": "f"}, {}, {}, "ssh -p 2 -i f e@d"),
    "a wrapper": ({}, {"AICLUSTER_SSH": "sudo -u aicluster ssh"}, {}, "sudo -u aicluster ssh pi51"),
})  # fmt: skip
def test_a_node_is_reached_as_by_this_run(hostvars, environment, options, command, given, monkeypatch):
    given(options)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ssh_command(HOST | hostvars) == command


@cases(("folder", "sources", "command"), {
    "in a folder of the toolkit": (ROOT / "docs", [f"{ROOT}/inventory/lab", "pi51,"],
        f"cd {ROOT} && ansible-playbook -i inventory/lab -i pi51,"),
})  # fmt: skip
def test_a_playbook_and_inventories_are_found_from_a_folder(folder, sources, command, monkeypatch):
    monkeypatch.chdir(folder)
    assert ansible_command(sources) == command


@cases(("options", "words"), {
    "asks for the vault's password": ({"ask_vault_pass": True}, "--ask-vault-pass"),
    "reads it from files": ({"vault_password_files": ["/home/me/my pass", f"{ROOT}/site.yml"]},
        "'--vault-password-file=/home/me/my pass' --vault-password-file=site.yml"),
    "names vaults": ({"vault_ids": ["lab@prompt", f"home@{ROOT}/site.yml"]},
        "--vault-id=lab@prompt --vault-id=home@site.yml"),
    "has what is not for the next run": ({"tags": ["all"], "remote_user": "me"}, ""),
})  # fmt: skip
def test_the_next_run_is_given_what_this_one_was_given_that(options, words, given):
    given(options)
    assert ansible_command(OWN) == f"ansible-playbook {words}".strip()
