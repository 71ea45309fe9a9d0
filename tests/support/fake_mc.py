"""MinIO's client, as far as the role's scripts use it: remembers users, policies and buckets in a file.

Run as `mc`; FAKE_MC names the file. The arguments of every call are kept: a test looks for secrets in them.
Like the real store it gives the words of a policy in another order each time: that of a set in this process.
Tests run it hundreds of times, and importing json takes as long as starting Python: only what needs it does.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EMPTY: dict[str, Any] = {
    "calls": [],
    "aliases": {},
    "buckets": [],
    "policies": {"readwrite": {}},
    "users": {},
    "root": ["aicluster", "made-up-minio-root-password"],
}


class RefusedError(Exception):
    """What the client says when it cannot do something."""


def shuffled(policy: dict[str, Any]) -> dict[str, Any]:
    statements = [
        {key: list(set(value)) if isinstance(value, list) else value for key, value in one.items()}
        for one in policy.get("Statement", [])
    ]
    return {**policy, "Statement": statements}


def set_alias(state: dict[str, Any], alias: str) -> None:
    name, secret = sys.stdin.read().splitlines()
    user = state["users"].get(name)
    if [name, secret] != state["root"] and not (user and user["secret"] == secret and user["enabled"]):
        raise RefusedError("The request signature does not match")
    state["aliases"][alias] = name


def user_of(state: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in state["users"]:
        raise RefusedError("The specified user does not exist")
    found: dict[str, Any] = state["users"][name]
    return found


def user_info(state: dict[str, Any], name: str) -> None:
    import json

    print(json.dumps({"accessKey": name, "policyName": ",".join(user_of(state, name)["policies"])}))


def add_user(state: dict[str, Any], name: str) -> None:
    user = state["users"].setdefault(name, {"policies": []})
    user.update(secret=sys.stdin.readline().rstrip("\n"), enabled=True)


def remove_policy(state: dict[str, Any], name: str) -> None:
    if any(name in user["policies"] for user in state["users"].values()):
        raise RefusedError("policy in use")
    del state["policies"][name]


def attach(state: dict[str, Any], policy: str, _flag: str, name: str) -> None:
    if policy not in state["policies"] or policy in user_of(state, name)["policies"]:
        raise RefusedError("The specified policy change is already in effect")
    user_of(state, name)["policies"].append(policy)


def detach(state: dict[str, Any], policy: str, _flag: str, name: str) -> None:
    user_of(state, name)["policies"].remove(policy)


def policy_info(state: dict[str, Any], name: str, _flag: str, path: str) -> None:
    if name not in state["policies"]:
        raise RefusedError("The canned policy does not exist")
    import json

    with open(path, "w") as file:
        json.dump(shuffled(state["policies"][name]), file, indent=1)


def create_policy(state: dict[str, Any], name: str, path: str) -> None:
    import json

    with open(path) as file:
        state["policies"][name] = json.load(file)


def list_policies(state: dict[str, Any]) -> None:
    import json

    for name in state["policies"]:
        print(json.dumps({"policy": name, "isGroup": False}))


def bucket_info(state: dict[str, Any], name: str) -> None:
    if name not in state["buckets"]:
        raise RefusedError("Bucket does not exist")


COMMANDS: dict[tuple[str, ...], Any] = {
    ("alias", "set"): lambda state, alias, _url: set_alias(state, alias),
    ("stat",): lambda state, path: bucket_info(state, path.partition("/")[2]),
    ("mb",): lambda state, path: state["buckets"].append(path.partition("/")[2]),
    ("admin", "user", "info", "root"): user_info,
    ("admin", "user", "add", "root"): add_user,
    ("admin", "user", "remove", "root"): lambda state, name: state["users"].pop(name),
    ("admin", "policy", "create", "root"): create_policy,
    ("admin", "policy", "info", "root"): policy_info,
    ("admin", "policy", "remove", "root"): remove_policy,
    ("admin", "policy", "attach", "root"): attach,
    ("admin", "policy", "detach", "root"): detach,
    ("admin", "policy", "list", "root"): list_policies,
}


def main(arguments: list[str]) -> int:
    """Do what the arguments say."""
    path = os.environ["FAKE_MC"]
    with open(path, "rb") as file:
        state = marshal.load(file)
    state["calls"].append(arguments)
    words = [word for word in arguments if word != "--json"]
    [size] = [len(names) for names in COMMANDS if tuple(words[: len(names)]) == names]
    try:
        COMMANDS[tuple(words[:size])](state, *words[size:])
    except RefusedError as refusal:
        print(f"mc: <ERROR> {refusal}", file=sys.stderr)
        return 1
    finally:
        with open(path, "wb") as file:
            marshal.dump(state, file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
