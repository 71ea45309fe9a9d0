"""Validates the whole site description on the controller; no node is contacted.

It gathers what inventory, group_vars, host_vars, roles and the secrets file say into one plain structure,
hands that to `aicluster.preflight` and fails with all errors at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.vault import AnsibleVaultError

from aicluster.adapters.node_action import NodeAction
from aicluster.backup.findings import named_volumes
from aicluster.engine.files import STACK_ROOT
from aicluster.gateway.certificates import ca_problems
from aicluster.preflight.description import cluster_of, preflight_errors
from aicluster.preflight.models import model_notes
from aicluster.preflight.secrets import flaw_of
from aicluster.preflight.variables import SITE_RULES
from aicluster.site.catalogue import load, split
from aicluster.site.commands import ansible_command, inventory_name
from aicluster.site.relations import CA_SECRET
from aicluster.site.rules import numbered
from aicluster.site.secrecy import is_exposed
from aicluster.site.vocabulary import load_yaml, roles_in, vocabulary_of

SITE_VARIABLES = (
    *("site_network", "site_router", "site_operators", "site_offsite", "site_users", "site_domain"),
    *SITE_RULES,
)
# Keys of the description, and the variables they stand for.
CATALOGUE = {"services": "definitions", "overrides": "overrides", "catalogue": "catalogue"}
# Of the connection, what the description of a node depends on.
CONNECTION_VARIABLES = ("ansible_port", "ansible_ssh_port")


def plain(value: object) -> object:
    """Return lazy and tagged values of Ansible as ordinary Python values."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for ordinary in (str, int, float):
        if isinstance(value, ordinary) and not isinstance(value, bool):
            return ordinary(value)
    return value


def variables_of(hostvars: Mapping[str, Any], roles: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one host's variables that the preflight checks, and the node variables that cannot be computed.

    Role variables that cannot be computed here may need role defaults or facts, so they are left out.
    """
    prefixes = tuple(f"{role}_" for role in roles)
    values, unreadable = {}, {}
    for name in hostvars:
        if not (name.startswith(("node_", *prefixes)) or name in (*SITE_VARIABLES, *CONNECTION_VARIABLES)):
            continue
        try:
            values[str(name)] = plain(hostvars[name])
        except AnsibleError as error:
            if name.startswith("node_") or name in SITE_VARIABLES:
                unreadable[str(name)] = one_line(error)
    return values, unreadable


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks."""
    return " ".join(str(error).split()).rstrip(".")


def secrets_of(hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """Return which secrets have a value and what is wrong with it, as `site_errors` documents it.

    Never the values themselves. `fix` is None where the file is to be made.
    """
    names: list[str] = []
    malformed: dict[str, str] = {}
    environment: list[str] = []
    ca_problem = None
    file, problem, fix = None, None, None
    try:
        file = str(hostvars["site_secrets_file"])
        secrets = hostvars["site_secrets"]
        if isinstance(secrets, Mapping):
            names = [str(name) for name, value in secrets.items() if value not in (None, "")]
            flaws = {name: flaw_of(secrets[name]) for name in names}
            malformed = {name: flaw for name, flaw in flaws.items() if flaw}
            if CA_SECRET in names:
                ca_problem = next(ca_problems(secrets[CA_SECRET], datetime.now(UTC)), None)
            opens = secrets.get("offsite_environment")
            environment = [name for name in opens if opens[name]] if isinstance(opens, Mapping) else []
        elif secrets is not None:
            problem, fix = "holds no `name: value` lines", "correct it"
    except KeyError as error:
        problem, fix = f"variable {error} is not set", "set it in group_vars/all/secrets.yml"
    except AnsibleError as error:
        if any(isinstance(cause, AnsibleVaultError) for cause in causes_of(error)):
            problem = "is encrypted, and no given password decrypts it"
            fix = "add --ask-vault-pass (or --vault-password-file FILE) and give the one it was made with"
        elif file is not None and is_absent(Path(file)):
            problem = "does not exist"
        else:
            problem, fix = f"cannot be read, {one_line(error)}", "correct it: running services use its values"
    found = {"file": file, "names": names, "malformed": malformed, "problem": problem, "fix": fix}
    found |= {"environment": environment, "ca_problem": ca_problem}
    return {**found, "exposed": file is not None and is_exposed(Path(file))}


def own_certificate(hostvars: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the certificate of another CA for a host, its key and its file; None without one."""
    file = str(hostvars.get("site_tls_certificate", ""))
    try:
        found = plain(hostvars.get("site_tls", {}))
    except AnsibleError as error:
        return {"file": file, "problem": f"cannot be read, {one_line(error)}"}
    return {"file": file, **found} if isinstance(found, Mapping) and found else None


def is_absent(path: Path) -> bool:
    """Tell whether a file is to be made: it is no link to a disk that is away, and in no closed folder."""
    try:
        path.lstat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def volumes_of(roles_folder: Path) -> dict[str, list[str]]:
    """Return service -> the named volumes of its compose file; raise AnsibleError if one cannot be read."""
    found = {}
    for path in sorted(roles_folder.glob(f"*/templates{STACK_ROOT}/*/compose.yaml.j2")):
        try:
            found[path.parent.name] = named_volumes(path.read_text())
        except ValueError as error:
            raise AnsibleError(f"{path}: volumes: must be YAML; correct them: {error}") from error
    return found


def describe(
    groups: Mapping[str, Iterable[str]], hostvars: Mapping[str, Any], roles_folder: Path
) -> dict[str, Any]:
    """Return the site as plain data in the shape that `site_errors` documents."""
    roles = roles_in(roles_folder)
    # Ansible walks what is below `all` as sets: its order differs from run to run, that of `nodes` not.
    ordered = dict.fromkeys([*groups.get("nodes", []), *sorted(groups["all"])])
    hosts = {str(host): variables_of(hostvars[host], roles) for host in ordered}
    first = hostvars[next(iter(hosts))]
    site: dict[str, Any] = {
        "vocabulary": vocabulary_of(load_yaml(roles_folder.parent / "inventory/groups.yml")),
        "groups": {str(group): [str(host) for host in members] for group, members in groups.items()},
        "hosts": {host: values for host, (values, _) in hosts.items()},
        "unreadable": {host: unreadable for host, (_, unreadable) in hosts.items() if unreadable},
        "declared": {service: split(said)[1] for service, said in load(roles_folder).items()},
        "volumes": volumes_of(roles_folder),
        "programs": [
            str(path.relative_to(roles_folder)) for path in sorted(roles_folder.glob("*/files/*.py"))
        ],
        "roles": roles,
        # These are the same for every host; any host's variables can compute them.
        "secrets": secrets_of(first),
        "certificates": {host: own for host in hosts if (own := own_certificate(hostvars[host])) is not None},
        "now": datetime.now(UTC),
        "inventories": [],
        "playbook": "ansible-playbook --ask-vault-pass",
    }
    for key, name in CATALOGUE.items():
        try:
            site[key] = plain(first.get(f"service_{name}"))
        except AnsibleError as error:
            site[key] = None
            site["unreadable"].setdefault("site", {})[f"service_{name}"] = one_line(error)
    return site


def specification_errors(options: Mapping[str, Any], values: Mapping[str, Any]) -> Sequence[str]:
    """Return what Ansible says of values that break their options."""
    try:
        messages: Sequence[str] = ArgumentSpecValidator(options).validate(values).error_messages
    except (ArithmeticError, AttributeError, TypeError) as error:
        return [f"must be of its type: {one_line(error)}"]  # as of `.inf`, and of keys that are numbers
    return messages


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module site_preflight`."""

    PREDICTS = True
    _requires_connection = False

    def act(self, _options: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the site from the inventory's variables, validate it, fail with every error at once."""
        task_vars = self._task_vars
        site = describe(task_vars["groups"], task_vars["hostvars"], Path(task_vars["role_path"]).parent)
        sources = task_vars["ansible_inventory_sources"]
        site |= {
            "inventories": [inventory_name(source) for source in sources],
            "playbook": ansible_command(sources, context.CLIARGS, constants, ask_vault=True),
        }
        errors = preflight_errors(site, specification_errors)
        if errors:
            rest = " in the site description; no node was touched."
            return {"changed": False, "failed": True, "msg": numbered(errors, "mistake", rest)}
        message = f"The description of {len(site['hosts'])} nodes has no mistakes."
        return {"changed": False, "msg": message, "warnings": [*model_notes(site, cluster_of(site))]}
