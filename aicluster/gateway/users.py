"""Who may use the gateway and the notebooks: consumers of Kong, keys, what they may ask for, logins.

Source: the variable `site_users`, in a file that playbooks/user.yml adds lines to.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import yaml

from ..errors import SiteError
from ..models import normalise
from ..site import relations
from ..site.catalogue import BOOLEAN, one_of
from ..site.rules import is_whole, matches, shown
from ..site.schema import LISTED, NAMES, Field, Kind, Reader
from .routing import lua

FILE = "group_vars/all/users.yml"
ROLES = ("admin", "user", "service")
OWN = "default"
"""The consumer of the cluster's own parts: checks, the lab's card, tests."""
VERIFIER = "aicluster-verify"
"""The user of JupyterHub that its check logs in as."""
FIRST_KEY = "main"
"""The key of a user without a list of them."""

User = Mapping[str, Any]


def is_day(value: object) -> bool:
    """A day, as YAML or a person writes it: 2027-06-30."""
    try:
        return bool(date.fromisoformat(str(value)))
    except ValueError:
        return False


# Names become parts of headers, labels and tags.
PLAIN = matches(r"[a-z0-9][a-z0-9._-]{0,63}")
LETTERS = "at most 64 small letters, digits, `.`, `_` and `-`, no sign first, a number in quotes"
KEY = {
    "name": Field(
        Kind(PLAIN, LETTERS), "which key of its user; the name of its secret is `user_<user>/<key>`"
    ),
    "until": Field(Kind(is_day, "a day as 2027-06-30"), "the last day it is valid, in UTC", required=False),
}
NAME = Kind(
    lambda value: PLAIN(value) and value not in (OWN, VERIFIER),
    f"{LETTERS}, and not `{OWN}` or `{VERIFIER}`, the cluster's own",
)
USER = {
    "name": Field(NAME, "the user; Kong's consumer, its name in metrics and logs, its login at JupyterHub"),
    "role": Field(one_of(*ROLES), "what kind of user; `service` has no login at JupyterHub, `admin` runs it"),
    "limit_per_minute": Field(
        Kind(is_whole(1), "a whole number from 1"),
        "requests a minute of all routes together, instead of `kong_rate_limit_per_minute` for each route",
        required=False,
    ),
    "models": Field(NAMES, "models and aliases it may name, else all", required=False),
    "keys": Field(LISTED, f"its keys, else one called `{FIRST_KEY}`", required=False, keys=KEY),
    "enabled": Field(BOOLEAN, "false: none of its keys is valid", required=False),
    "store": Field(BOOLEAN, "false: nothing of what it says is stored", required=False),
}  # fmt: skip


def repeated(kind: str, names: Iterable[str], place: str) -> Iterator[str]:
    """Yield names that are there more than once."""
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{kind} {name} of {place} {times} times: must be listed once; rename one in {FILE}"


def user_problems(users: object) -> Iterator[str]:
    """Yield every mistake in `site_users` that shows without the rest of the site."""
    if not isinstance(users, list | None):
        yield f"site_users {shown(users)}: must be a list of users; write one a line in {FILE}"
        return
    names = []
    for number, user in enumerate(users or []):
        name = user.get("name") if isinstance(user, Mapping) else None
        subject = f"user {name} of site_users" if name else f"item {number + 1} of site_users"
        mistakes = list(Reader(subject, FILE, {}).mapping("", user, USER, None))
        yield from mistakes
        names.append(str(name or number))
        yield from repeated("key", [] if mistakes else [key["name"] for key in keys_of(user)], subject)
    yield from repeated("user", names, "site_users")


def checked(users: object) -> Sequence[User]:
    """Return the users; raise SiteError for the first mistake."""
    for problem in user_problems(users):
        raise SiteError(problem)
    return users if isinstance(users, list) else []


def keys_of(user: User) -> Sequence[Mapping[str, Any]]:
    """Return the keys of a user."""
    keys: Sequence[Mapping[str, Any]] = user.get("keys", [{"name": FIRST_KEY}])
    return keys


def last_day(key: Mapping[str, Any]) -> str:
    """Return the last day a key is valid, which compares as text; "" if it has none."""
    return date.fromisoformat(str(key["until"])).isoformat() if "until" in key else ""


def secret_of(user: User, key: Mapping[str, Any]) -> str:
    """Return the name of the secret that is a key."""
    return f"user_{user['name']}/{key['name']}"


def user_secrets(users: object) -> list[str]:
    """Return the names of the secrets that are the keys of all users; raise SiteError for a mistake."""
    return [secret_of(user, key) for user in checked(users) for key in keys_of(user)]


def secret_names(nodes: Iterable[Mapping[str, Any]], users: object = None) -> list[str]:
    """Return the names of all secrets that placed services list, and of those that are keys of users."""
    entries = [entry for node in nodes for entry in node["services"].values()]
    return sorted(
        {name for entry in entries for name in relations.names(entry, "secrets")} | {*user_secrets(users)}
    )


def gateway_users(users: object, today: str) -> dict[str, Any]:
    """Return what Kong needs to know of users; raise SiteError for a mistake.

    `today`: as 2027-06-30; keys that ended before are left out. Returned: consumers [{name, role, limit
    (requests a minute, or None), credentials [{secret, tags}]}], the cluster's own first; lua (for user.lua).
    """
    credentials = [{"secret": "kong_api_key", "tags": [FIRST_KEY]}]
    consumers = [{"name": OWN, "role": "service", "limit": None, "credentials": credentials}]
    enabled = [user for user in checked(users) if user.get("enabled", True)]
    for user in enabled:
        until = [(key, last_day(key)) for key in keys_of(user)]
        consumers.append({
            **{key: user[key] for key in ("name", "role")},
            "limit": user.get("limit_per_minute"),
            "credentials": [
                {"secret": secret_of(user, key), "tags": [key["name"], *([f"until:{last}"] if last else [])]}
                for key, last in until
                if not last or last >= today
            ],
        })  # fmt: skip
    models = {
        user["name"]: {normalise(model): True for model in user["models"]}
        for user in enabled
        if "models" in user
    }
    unstored = {user["name"]: True for user in enabled if not user.get("store", True)}
    return {"consumers": consumers, "lua": f"local MODELS, UNSTORED = {lua(models)}, {lua(unstored)}\n"}


def hub_users(users: object, secrets: Mapping[str, str], today: str) -> dict[str, dict[str, Any]]:
    """Return user -> {admin, keys: {hash of a key: its last day or ""}} for logins of JupyterHub.

    Keys that ended before `today` are left out. A quick hash (SHA-256), as keys are long and random. Raises
    SiteError for a mistake.
    """

    def digest(secret: str) -> str:
        return hashlib.sha256(secrets[secret].encode()).hexdigest()

    people = [user for user in checked(users) if user.get("enabled", True) and user["role"] != "service"]
    return {
        VERIFIER: {"admin": False, "keys": {digest("jupyterhub_password"): ""}},
        **{
            user["name"]: {
                "admin": user["role"] == "admin",
                "keys": {
                    digest(secret_of(user, key)): last_day(key)
                    for key in keys_of(user)
                    if not last_day(key) or last_day(key) >= today
                },
            }
            for user in people
        },
    }


def with_user(text: str, name: str, role: str = "user") -> str:
    """Return the text of the file of users with one more; raise SiteError if it cannot be added as a line."""
    # Texts of Ansible are of types of its own.
    found, new = yaml.safe_load(text) or {}, {"name": str(name), "role": str(role)}
    users = checked([*checked(found.get("site_users")), new])
    line = "  - " + yaml.safe_dump(new, default_flow_style=True, sort_keys=False)
    whole = text.rstrip() + "\n" + line
    try:
        after = yaml.safe_load(whole)
    except yaml.YAMLError:
        after = None
    if after != {**found, "site_users": users}:
        raise SiteError(
            f"{FILE} (not changed): must end with the list site_users, one user a line; add `{line.strip()}`"
        )
    return whole
