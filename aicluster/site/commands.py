"""What a person types next: how to reach a node, how to run a playbook of this site.

Every message that names a command takes it from here, so that it runs as it is printed.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
# Where the toolkit is started by a wrapper, that says what a person types instead of a program's name.
SSH, PLAYBOOK = "AICLUSTER_SSH", "AICLUSTER_PLAYBOOK"
# What a run was given on its command line and the next one needs, too -> how it is written. A user is none
# of it: the inventory's `ansible_user` wins over `--user`.
VAULT = {
    "ask_vault_pass": "--ask-vault-pass",
    "vault_password_files": "--vault-password-file",
    "vault_ids": "--vault-id",
}
GIVEN = {
    **VAULT,
    "private_key_file": "--private-key",
    "ask_pass": "--ask-pass",
    "connection_password_file": "--connection-password-file",
    "become_ask_pass": "--ask-become-pass",
    "become_password_file": "--become-password-file",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
}
SSH_OPTIONS = ("host", "port", "remote_user", "private_key_file")
SSH_TEXTS = ("ssh_args", "ssh_common_args", "ssh_extra_args")


def program(variable: str, name: str) -> list[str]:
    """Return the words a wrapper names in its variable, or the program, as it was started or found."""
    return shlex.split(os.environ.get(variable, "")) or [started(name)]


def started(name: str) -> str:
    """Return a program's bare name where a shell finds it, else the path this run was started by."""
    path, found = Path(sys.argv[0]), shutil.which(name)
    if path.name != name or not path.exists() or (found and path.samefile(found)):
        return name
    absolute = Path(os.path.normpath(path.absolute()))  # without `..`, and not where a link leads
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(absolute)


def ssh_arguments(option: Callable[[str], tuple[object, str]]) -> list[str]:
    """Return the arguments of ssh for the user, host, port, key and options of a connection.

    `option`: name of an option of Ansible's connection plugin `ssh` -> its value and where that is from.
    """
    found = {name: option(name) for name in (*SSH_OPTIONS, *SSH_TEXTS)}
    if not found["ssh_args"][1].startswith(("var:", "env:")):
        del found["ssh_args"]  # of ansible.cfg: they make Ansible fast, a person gets there without them
    host, port, user, key = (str(found[name][0] or "") for name in SSH_OPTIONS)
    texts = [str(found[name][0] or "") for name in SSH_TEXTS if name in found]
    words = [
        *(["-p", port] if port else []),
        *(["-i", str(Path(key).expanduser())] if key else []),
        *(word for text in texts for word in shlex.split(text)),
    ]
    return [*words, f"{user}@{host}" if user else host]


def ssh_command(arguments: Sequence[str]) -> str:
    """Return `ssh ...` as a person types it here, with these arguments."""
    return shlex.join([*program(SSH, "ssh"), *arguments])


def inventory_name(source: str) -> str:
    """Return the path of an inventory below the toolkit's root, or the source as it is."""
    if "," in source:  # names instead of a file
        return source
    path = Path(source).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else source


def option_words(options: Mapping[str, str], given: Mapping[str, Any]) -> list[str]:
    """Return those of these options that a run was `given`, paths as seen from the root."""
    words = []
    for name, option in options.items():
        value = given.get(name)
        if value is True:
            words.append(option)
        elif value:
            items = [value] if isinstance(value, str) else value
            words += [f"{option}={path_name(item)}" for item in items]
    return words


def path_name(text: str) -> str:
    """Return a file, or a vault id `label@file`, as it is written where one stands in the root."""
    label, at, name = text.rpartition("@")
    path = Path(name).expanduser()
    return f"{label}{at}{inventory_name(str(path.absolute()))}" if path.exists() else text


class Settings(Protocol):
    """Those of Ansible's constants that say what a run needs not be given."""

    DEFAULT_HOST_LIST: Sequence[str]
    DEFAULT_VAULT_IDENTITY_LIST: Sequence[str]
    DEFAULT_VAULT_PASSWORD_FILE: str | None


def ansible_command(
    sources: Sequence[str], given: Mapping[str, Any], settings: Settings, ask_vault: bool = False
) -> str:
    """Return what runs a playbook, named from the root, with the inventories and passwords of a run.

    `given`: Ansible's command line. `ask_vault`: ask for the vault's password where nothing else gives it.
    """
    own = list(sources) == list(settings.DEFAULT_HOST_LIST)
    named = [] if own else [word for source in sources for word in ("-i", inventory_name(source))]
    configured = settings.DEFAULT_VAULT_PASSWORD_FILE or settings.DEFAULT_VAULT_IDENTITY_LIST
    asks = ask_vault and not configured and not option_words(VAULT, given)
    asking = ["--ask-vault-pass"] if asks else []
    # Elsewhere neither ansible.cfg nor a playbook would be found.
    there = "" if Path.cwd() == ROOT else f"cd {shlex.quote(str(ROOT))} && "
    words = [*program(PLAYBOOK, "ansible-playbook"), *named, *asking, *option_words(GIVEN, given)]
    return there + shlex.join(words)
