# SPDX-License-Identifier: Apache-2.0
"""Values as Lua source text."""

import string
from collections.abc import Mapping

PLAIN = frozenset((string.ascii_letters + string.digits + string.punctuation + " ").encode()) - {*b'"\\'}


def lua(value: object) -> str:
    """Return an expression: of texts, numbers, booleans, None, lists, and mappings with texts as keys.

    Every byte that is no letter, digit or harmless sign is escaped: a text stays within its quotes and on its
    line, whatever it holds.
    """
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(chr(b) if b in PLAIN else f"\\{b:03}" for b in value.encode()) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{lua(str(key))}] = {lua(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(map(lua, value)) + "}"
    raise TypeError(f"{type(value).__name__} has no form in Lua")
