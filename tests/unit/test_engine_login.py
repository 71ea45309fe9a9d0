"""Before a run ends logins with a password, a key opens a new connection."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import stack_plan
from inspected import files, inspected
from programs import script

from aicluster.engine.desired import Desired
from aicluster.engine.login import key_login

OPTIONS: dict[str, Any] = {
    "ssh_executable": "ssh", "host": "10.0.0.5", "port": 2222, "remote_user": "ansible",
    "private_key_file": "/keys/my id", "timeout": 15, "host_key_checking": False,
    "ssh_args": "-o ControlMaster=auto -o ControlPersist=10m", "ssh_common_args": "-o ProxyJump=gate",
    "ssh_extra_args": None,
}  # fmt: skip
KEYS_ONLY = Desired(rules={"/etc/ssh/a.conf": {"keys_only": True}})


def test_the_login_is_tried_as_ansible_does_without_its_open_connection_and_without_a_password():
    command = key_login(OPTIONS.get)
    settings = [text for flag, text in itertools.pairwise(command) if flag == "-o"]
    names = [text.partition("=")[0] for text in settings]
    assert {'ControlPath="none"', 'BatchMode="yes"', 'PasswordAuthentication="no"'} <= set(settings)
    assert {'Port="2222"', 'User="ansible"', 'IdentityFile="/keys/my id"', "ProxyJump=gate"} <= set(settings)
    assert names.index("ControlPath") < names.index("ControlMaster"), "of two, ssh takes the first"
    assert command[-2:] == ["10.0.0.5", "true"]


DENIED = "echo Warning: a name >&2; echo 'Permission denied (publickey).' >&2; exit 255"
REFUSED = {
    "user": "ansible", "host": "10.0.0.5", "port": 2222, "key": "/keys/my id",
    "said": "Permission denied (publickey).",
}  # fmt: skip
SSH, MITOGEN = "ansible.builtin.ssh", "mitogen_ssh"


@pytest.mark.parametrize(("by", "body", "path", "found"), [
    pytest.param(SSH, DENIED, "/etc/ssh/a.conf", REFUSED, id="no key opens the node"),
    pytest.param(SSH, DENIED, "/etc/other", None, id="passwords are not ended"),
    pytest.param(SSH, "exit 0", "/etc/ssh/a.conf", None, id="a key opens it"),
    pytest.param(MITOGEN, "exit 0", "/etc/ssh/a.conf", {"by": MITOGEN}, id="another ssh is not tried"),
    pytest.param(MITOGEN, "exit 0", "/etc/other", None, id="another ssh, and passwords are not ended"),
])  # fmt: skip
def test_a_login_that_only_a_password_opens_is_found_before_passwords_end(tmp_path, by, body, path, found):
    options = {**OPTIONS, "ssh_executable": script(tmp_path / "ssh", body)}
    plugin = object.__new__(stack_plan.ActionModule)
    plugin._connection = SimpleNamespace(ansible_name=by, get_option=options.get)
    assert plugin._key_login(KEYS_ONLY, inspected(**files("missing", path))) == found
