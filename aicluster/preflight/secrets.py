"""The secrets that placed services need: none is missing, and each means the same to every program."""

import re
import shlex
from collections.abc import Iterator, Mapping

from ..site.rules import is_names, matches, shown
from .services import all_placed
from .subjects import SHARED_FILE, Site
from .users import key_secrets

# What a program that reads a secret takes for something else, and no way of writing it down prevents.
# Placeholders: `%(name)s` of rclone and Grafana, `${env:NAME}` and `{b64}` of SonarQube, `{vault://...}` of
# Kong.
FLAWS = {
    r"[\x00-\x1f\x7f]": "has a line break, a tab or another control character",
    r"[^\x00-\x7f]": "has a character that is not ASCII",
    r"^ | $": "begins or ends with a space",
    r"%\([^)]+\)s|\$\{[^}]*\}|^\{[^}]*\}": "has a placeholder (`%(...)s`, `${...}` or a leading `{...}`)",
    # SonarQube takes none that is shorter, the object store none below 8.
    r"^.{0,11}$": "has fewer than 12 characters",
}
# Off-site repositories that environment variables open: how each is written, and which it needs.
OFFSITE = {
    r"rest:https?://[^/@\s]+(/\S*)?": ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"),
    r"s3:(https?://)?[^/@\s]+/[^/\s]\S*": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    r"b2:[\w-]+:\S*": ("B2_ACCOUNT_ID", "B2_ACCOUNT_KEY"),
    r"azure:[a-z0-9-]+:/\S*": ("AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"),
}
OFFSITE_EXAMPLES = (
    "rest:https://host/path, s3:https://host/bucket/path, b2:bucket:path or azure:container:/path"
)


def flaw_of(secret: object) -> str | None:
    """Return why a secret does not mean the same to every program that reads it, None if it does."""
    if not isinstance(secret, str):
        return "is a number, a truth value or a list"
    return next((flaw for pattern, flaw in FLAWS.items() if re.search(pattern, secret)), None)


def secret_needs(site: Site) -> dict[str, list[str]]:
    """Return secret name -> the services that are placed somewhere and need it, in placement order."""
    needs: dict[str, list[str]] = {}
    keys = key_secrets(site)
    for variables in site["hosts"].values():
        for service, overrides in all_placed(variables):
            base = site["catalogue"].get(service) if isinstance(site["catalogue"], Mapping) else None
            layers = [one for one in (overrides, base) if isinstance(one, Mapping) and "secrets" in one]
            names = layers[0]["secrets"] if layers else []
            used = keys if service in ("kong", "jupyterhub", "nginx") else []
            for name in [*(names if is_names(names) else []), *used]:
                if service not in needs.setdefault(name, []):
                    needs[name].append(service)
    return needs


def secret_errors(site: Site) -> Iterator[str]:
    """Yield each secret that a placed service needs and that is missing or malformed, without its value."""
    needs, secrets = secret_needs(site), site["secrets"]
    wanted = ", ".join(f"{name} ({' and '.join(services)})" for name, services in needs.items())
    make = f"`{site['playbook']} playbooks/secrets.yml`"
    if secrets["exposed"]:
        yield (
            f"secrets file {secrets['file']} in plain text: git must ignore it or ansible-vault encrypt it; "
            f"`ansible-vault encrypt {shlex.quote(secrets['file'])}`, or name it in .gitignore"
        )
    if needs and secrets["problem"]:
        # New ones would shut a site that runs already out of its own backups.
        new = f"`bin/recover-site` brings that of a site that runs already; of a new one {make} creates it"
        fix = secrets["fix"] or f"{new}, with a random value for each of {wanted}"
        yield f"secrets file {secrets['file']}: {secrets['problem']}; {fix}"
        return
    for name, services in needs.items():
        if name not in secrets["names"]:
            yield (
                f"secret {name} of service {' and '.join(services)} missing: must have a value in "
                f"{secrets['file']}; {make} adds missing ones"
            )
        elif name in secrets["malformed"]:
            yield (
                f"secret {name} of service {' and '.join(services)} (hidden) {secrets['malformed'][name]}: "
                f"must be one line of printable ASCII that every program reads unchanged; write "
                f"`{name}: '<value>'`, in quotes and without that, in {secrets['file']}"
            )


def offsite_errors(site: Site) -> Iterator[str]:
    """Yield why the off-site repository cannot be one, and variables that would open it and are missing."""
    secrets = site["secrets"]
    for variables in site["hosts"].values():
        address = variables.get("site_offsite", "")
        needed = [names for form, names in OFFSITE.items() if matches(form)(address)]
        missing = [name for name in needed[0] if name not in secrets["environment"]] if needed else []
        if address != "" and not needed:
            yield (
                f"site_offsite {shown(address)}: must be a repository of restic that environment variables "
                f"open, without a password in it; write it as {OFFSITE_EXAMPLES} in {SHARED_FILE}"
            )
        if missing:
            yield (
                f"site_offsite {shown(address)} without {' and '.join(missing)}: must be in the mapping "
                f"offsite_environment of {secrets['file']}; add `offsite_environment: {{{missing[0]}: "
                "<value>}` there, with all of them"
            )
