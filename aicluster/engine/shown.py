"""What people see of a plan: a line for each difference, and the diffs of files."""

from collections.abc import Iterable, Mapping
from typing import Any

from .facts import silent
from .files import File


def plan_lines(
    actual: Mapping[str, Any], reactions: Iterable[tuple[str, ...]], provision: Iterable[str]
) -> list[str]:
    """Return the plan for people: `+` create, `~` change, `-` remove."""
    lines = [f"~ package {item['name']} ({item['why']})" for item in actual["unfinished"]]
    half = [item["name"] for item in actual["unfinished"]]
    lines += [f"+ package {name}" for name in actual["packages"] if name not in half]
    for item in actual["differing"]:
        sign, why = ("+", "") if item["reason"] == "missing" else ("~", f" ({item['reason']})")
        lines.append(f"{sign} file {item['path']}{why}")
    lines += [f"- file {path}" for path in actual["leftover"]]
    lines += [f"~ unit {item['name']} ({item['why']})" for item in actual["units"]]
    lines += [f"~ {verb} {unit}" for verb, unit in reactions]
    lines += container_lines(actual)
    lines += [f"~ provision {service}" for service in provision]
    return lines


def container_lines(actual: Mapping[str, Any]) -> list[str]:
    """Return the lines about images and containers."""
    if silent(actual):
        return ["~ images and containers (unknown until docker runs)"]
    lines = [f"+ image {image}" for image in actual["conditions"]["images"]]
    for item in actual["containers"]:
        sign, why = ("+", "") if item["why"] == "missing" else ("~", f" ({item['why']})")
        lines.append(f"{sign} container {item['service']}{why}")
    lines += [f"- container {name}" for name in actual["orphans"]]
    lines += [
        f"~ container {name} (inactive in profile {actual['profile']})" for name in actual["unexpected"]
    ]
    return lines


def masked(message: str, secrets: Mapping[str, Any]) -> str:
    """Return a message without the values of secrets: a checker may quote what it does not understand."""
    for secret in sorted(map(str, secrets.values()), key=len, reverse=True):
        message = message.replace(secret, "********") if secret else message
    return message


def text_of(file: File) -> str | None:
    """Text to show in a diff; None for secrets and for what is not text."""
    if file.secret:
        return None
    try:
        return file.content.decode()
    except UnicodeDecodeError:
        return None


def file_diffs(
    files: Iterable[File], differing: Iterable[Mapping[str, Any]], removed: Iterable[str] = ()
) -> list[dict[str, str]]:
    """Return Ansible diffs of the differing files; of a secret only that it changed."""
    by_path = {file.path: file for file in files}
    diffs = [{"prepared": f"{path}: removed\n"} for path in removed]
    for item in differing:
        path = str(item["path"])
        file, before = by_path[path], item.get("before")
        after = item.get("after", text_of(file))
        if after is None or (before is None and item["reason"] == "content"):
            diffs.append({"prepared": f"{path}: content changes and is not shown\n"})
        elif before is None:
            diffs.append({"prepared": f"{path}: {item['reason']} -> {file.mode} {file.uid}:{file.gid}\n"})
        else:
            header = "/dev/null" if item["reason"] == "missing" else path
            diffs.append(
                {"before_header": header, "after_header": path, "before": str(before), "after": after}
            )
    return diffs
