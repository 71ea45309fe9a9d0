"""The two questions to a node that carry its desired state; library/stack_node.py answers them."""

import base64
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .desired import Desired
from .facts import engine_question
from .files import STACK_ROOT, File, rule_for
from .plan import checks_for
from .scope import Scope

# Parts of the desired state that a node compares as they are.
INSPECTED = ("packages", "units", "containers", "container_profiles", "profile", "images", "probes")


def inspection(
    desired: Desired,
    with_text: bool,
    provisioned_now: Mapping[str, str | None] | None = None,
    done: Sequence[Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the question what differs; `provisioned_now` is remembered, and ends the hold of this run.

    `done`: the reactions of a run that is not about the whole node; None: all are done.
    """
    return {
        "verb": "inspect",
        "with_text": with_text,
        "files": [file.question() for file in desired.files],
        **{part: getattr(desired, part) for part in INSPECTED},
        "engine": engine_question(desired),
        "firewall": "firewall" in desired.limits,
        "provisioned_now": provisioned_now,
        "done": done,
    }


def provisioned(desired: Desired, plan: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the inputs each service is provisioned with; None keeps what the node remembers.

    An inactive service was not provisioned.
    """
    return {
        service: None if service in plan["inactive"] else provision["digest"]
        for service, provision in desired.provisions.items()
    }


def delivery(desired: Desired, plan: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the request that checks the files of a part of the plan and puts them in place."""
    work, engine, scope = plan[part], part == "engine", Scope.of_plan(plan)
    changed = [file for file in desired.files if file.path in set(work["files"])]
    checkers = {file.path: rule_for(file.path, desired.rules).get("validate") for file in changed}
    return {
        "verb": "deliver",
        "files": [
            {"path": file.path, "fragment": file.fragment} for file in (changed if engine else desired.files)
        ],
        "others": desired.others,
        "partial": engine or bool(scope.only),
        "archive": pack(changed),
        "remove": work["remove"],
        "reactions": work["reactions"] + ([] if engine else plan["owed"]),
        "checks": {} if engine else checks_for(desired, [*work["files"], *work["remove"]]),
        "validations": {path: checker for path, checker in checkers.items() if checker},
        "compose_check": bool(desired.containers)
        and any(path.startswith(STACK_ROOT) for path in work["files"]),
    }


def pack(files: Iterable[File]) -> str:
    """Return the one archive a node gets: a base64 tar.gz of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode = len(file.content), int(file.mode, 8)
            member.uid, member.gid = file.uid, file.gid
            tar.addfile(member, io.BytesIO(file.content))
    return base64.b64encode(buffer.getvalue()).decode()
