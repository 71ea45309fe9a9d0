"""MinIO's client, as far as the role's scripts use it: remembers users, policies and buckets in a file.

Run as `mc`; FAKE_MC names the file. The arguments of every call are kept: a test looks for secrets in them.
Like the real store it gives the words of a policy in another order each time.
"""

import json
import os
import random
import sys
from pathlib import Path
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
        {key: random.sample(v, len(v)) if isinstance(v, list) else v for key, v in one.items()}
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
    Path(path).write_text(json.dumps(shuffled(state["policies"][name]), indent=1))


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
    ("admin", "policy", "create", "root"): lambda state, name, path: state["policies"].update(
        {name: json.loads(Path(path).read_text())}
    ),
    ("admin", "policy", "info", "root"): policy_info,
    ("admin", "policy", "remove", "root"): remove_policy,
    ("admin", "policy", "attach", "root"): attach,
    ("admin", "policy", "detach", "root"): detach,
    ("admin", "policy", "list", "root"): lambda state: print(
        "\n".join(json.dumps({"policy": name, "isGroup": False}) for name in state["policies"])
    ),
}


def main(arguments: list[str]) -> int:
    """Do what the arguments say."""
    path = Path(os.environ["FAKE_MC"])
    state = json.loads(path.read_text())
    state["calls"].append(arguments)
    words = [word for word in arguments if word != "--json"]
    [size] = [len(names) for names in COMMANDS if tuple(words[: len(names)]) == names]
    try:
        COMMANDS[tuple(words[:size])](state, *words[size:])
    except RefusedError as refusal:
        print(f"mc: <ERROR> {refusal}", file=sys.stderr)
        return 1
    finally:
        path.write_text(json.dumps(state))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
