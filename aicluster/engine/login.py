"""Whether a key opens the node, before a run ends other logins."""

import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .files import rule_for


def ends_passwords(paths: Iterable[str], rules: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a change of one of these files ends logins with a password."""
    return any(rule_for(path, rules).get("keys_only") for path in paths)


def key_login(options: Callable[[str], Any]) -> list[str]:
    """Return the ssh command that logs in as Ansible does, by key alone and over a connection of its own.

    `options`: those of Ansible's connection plugin `ssh`. Of an option given twice ssh takes the first.
    """
    settings = {
        "ControlPath": "none",
        "BatchMode": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictHostKeyChecking": "no" if options("host_key_checking") is False else None,
        "Port": options("port"),
        "IdentityFile": options("private_key_file"),
        "User": options("remote_user"),
        "ConnectTimeout": options("timeout"),
    }
    first = [word for name, value in settings.items() if value for word in ("-o", f'{name}="{value}"')]
    texts = [options(name) or "" for name in ("ssh_args", "ssh_common_args", "ssh_extra_args")]
    more = [word for text in texts for word in shlex.split(text)]
    return [options("ssh_executable"), *first, *more, options("host"), "true"]


def login_refused(options: Callable[[str], Any]) -> dict[str, Any] | None:
    """Return who cannot log in with a key, and what ssh said; None where the key opens a connection."""
    done = subprocess.run(
        key_login(options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if not done.returncode:
        return None
    said = (done.stderr.strip() or f"rc {done.returncode}").splitlines()[-1]
    names = {"user": "remote_user", "host": "host", "port": "port", "key": "private_key_file"}
    return {"said": said, **{name: options(option) for name, option in names.items()}}
