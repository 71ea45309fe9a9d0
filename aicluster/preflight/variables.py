"""Variables of roles and of the whole site, and the inventories the control node is to read."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Number
from pathlib import PurePosixPath
from typing import Any

from ..site.rules import is_names, is_number, is_text, is_whole, matches, shown, suggestion
from ..site.schema import is_kind
from .images import IMAGES_FILE
from .nodes import Rule
from .services import all_placed
from .subjects import SHARED_FILE, SITE_FILE, Site, label

# Ansible makes one of these of another value, but not for the templates that read it.
KINDS: dict[object, tuple[type, str]] = {
    "list": (list, "a list"), "dict": (Mapping, "a mapping"),
    "int": (Number, "a number, without quotes"), "float": (Number, "a number, without quotes"),
}  # fmt: skip
# Options of a specification, and values -> what is wrong with the values.
Validate = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[str]]
LOGIN_FILE = "group_vars/all/connection.yml"
SITE_RULES = {
    "ansible_user": Rule(lambda name: name != "aicluster", "other than the control node's", where=LOGIN_FILE),
    "site_firewall": Rule(is_kind(bool), "true or false, without quotes", where=SITE_FILE),
    "site_image_mirror": Rule(matches(r"([\w.-]+(:\d+)?[\w./-]*)?"), "host:port[/prefix]", where=IMAGES_FILE),
    "site_image_architectures": Rule(is_names, "a list, `[]` for what images say", where=IMAGES_FILE),
    "site_answer_timeout_s": Rule(is_whole(1), "whole seconds from 1", where=SHARED_FILE),
    "site_body_limit_mb": Rule(is_whole(1), "whole MiB from 1", where=SHARED_FILE),
    "site_offsite_kib_s": Rule(is_number(0, 1e12), "KiB a second, 0 for no limit", where=SHARED_FILE),
    "site_wake_on_request": Rule(is_kind(bool), "true or false", where=SHARED_FILE),
    "site_wake_hold_s": Rule(is_whole(1, 600), "whole seconds from 1 to 600", where=SHARED_FILE),
}  # fmt: skip


def shared_errors(site: Site) -> Iterator[str]:
    """Yield variables of the whole site that cannot be computed, are missing or of another type."""
    for host, variables in site["hosts"].items():
        unreadable = site["unreadable"].get(host, {})
        for name in [name for name in unreadable if name.startswith("site_")]:
            yield f"{name}: cannot be computed, {unreadable[name]}; correct it in group_vars/all"
        for name, rule in SITE_RULES.items():
            if name not in unreadable and not rule.holds(variables.get(name)):
                value = shown(variables[name]) if name in variables else "missing"
                yield f"{name} {value}: must be {rule.says}; correct it in {rule.where}"


def inventory_errors(site: Site) -> Iterator[str]:
    """Yield inventories the control node would read that are not those of this run: other nodes, at night."""
    used = [PurePosixPath(name) for name in site["inventories"]]
    elsewhere = [str(path) for path in used if path.is_absolute()]
    own = [f"inventory/{path.name}" if path.is_absolute() else str(path) for path in used]
    for host, variables in site["hosts"].items():
        option = (site["roles"].get("control_node") or {}).get("control_node_inventories")
        if not (used and option and "control_node" in dict(all_placed(variables))):
            continue
        chosen = variables.get("control_node_inventories", option["default"])
        paths = [PurePosixPath(name) for name in chosen] if is_names(chosen) else []
        foreign = [str(path) for path in paths if not {path, *path.parents} & {*used}]
        if foreign:
            move = f"move {' and '.join(elsewhere)} into inventory/ and " if elsewhere else ""
            yield (
                f"control_node_inventories of {label(site, host)} {shown(chosen)}: {' and '.join(foreign)} "
                f"must be an inventory of this run, or the nightly job works on other nodes; {move}write "
                f"control_node_inventories: [{', '.join(own)}] among the variables of your inventory"
            )


def owner_of(variable: str, roles: Iterable[str]) -> str | None:
    """Return the role a variable belongs to by its prefix, the longest one that fits, or None."""
    owners = [role for role in roles if variable.startswith(f"{role}_")]
    return max(owners, key=len, default=None)


def role_variable_errors(site: Site, validate: Validate) -> Iterator[str]:
    """Yield inventory variables that their role does not know, or whose value breaks its specification."""
    found: dict[str, list[str]] = defaultdict(list)
    for host, variables in site["hosts"].items():
        for name, value in variables.items():
            role = owner_of(name, site["roles"])
            if role is not None and site["roles"][role] is not None:
                for error in role_variable_error(role, name, value, site["roles"][role], validate):
                    found[error].append(label(site, host))
    for error, hosts in found.items():
        yield error.replace("<nodes>", ", ".join(hosts), 1)


def misread(option: Mapping[str, Any], value: object) -> Iterator[str]:
    """Yield what Ansible converts silently, and what computes with the variable does not."""
    kind, says = KINDS.get(option.get("type"), (object, ""))
    if value is not None and not isinstance(value, kind):
        yield f"{value!r}: must be {says}"
    elif isinstance(value, list):
        for one in value:
            yield from misread({**option, "type": option.get("elements")}, one)
    elif isinstance(value, Mapping):
        yield from (f"name {name!r}: must be a text, in quotes" for name in value if not is_text(name))
        for name, inner in (option.get("options") or {}).items():
            yield from misread(inner, value.get(name))


def role_variable_error(
    role: str, name: str, value: object, options: Mapping[str, Any], validate: Validate
) -> Iterator[str]:
    """Yield the errors of one variable, with `<nodes>` where the nodes that have it belong."""
    specification = f"roles/{role}/meta/argument_specs.yml"
    if name not in options:
        known = suggestion(name, options) if options else "remove it"
        yield f"variable {name} on <nodes>: is not known to role {role}; {known} ({specification})"
        return
    for message in validate({name: options[name]}, {name: value}) or misread(options[name], value):
        # Ansible's own sentence repeats the value, so neither is shown of a variable that may hold a secret.
        secret = options[name].get("no_log")
        yield (
            f"variable {name} on <nodes> {'(hidden)' if secret else shown(value)}: "
            f"{'breaks its specification' if secret else message.removeprefix(f'{value!r}: ').rstrip('.')}; "
            f"correct it as {specification} says"
        )
