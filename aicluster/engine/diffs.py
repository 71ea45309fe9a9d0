# SPDX-License-Identifier: Apache-2.0
"""What is shown of files: diffs, and messages without secrets."""

from collections.abc import Iterable, Mapping
from typing import Any

from .files import File


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
