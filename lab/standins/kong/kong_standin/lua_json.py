"""`cjson.safe` as Kong's Lua sees it, over Python's JSON."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

# What comes from Lua or goes there: its types are Lua's.
LuaValue: TypeAlias = Any
PRECISION = 16
SPARSE_RATIO, SPARSE_SAFE = 2, 2**15
ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
TO_ESCAPE = re.compile(r'["\\/\x00-\x1f\x7f]')


def bytes_text(text: str) -> str:
    """Return text as Lua has it here: one character per byte of its UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def real_text(text: str) -> str:
    """Return the text whose UTF-8 bytes these are."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


class Json:
    """Encoder and decoder for one Lua runtime."""

    def __init__(self, lua: LuaValue) -> None:
        """Make the values that have no Lua counterpart; `lua` is a LuaRuntime."""
        self._lua = lua
        self._type = lua.eval("type")
        self.null = lua.eval("newproxy()")
        self.empty_array = lua.eval("newproxy()")
        self.array_mt = lua.eval("{}")
        self._metatable = lua.eval("getmetatable")
        self._same = lua.eval("rawequal")

    def decode(self, text: LuaValue) -> LuaValue:
        """Return the value; nil and a message for what is no JSON."""
        try:
            # Numbers are doubles in Lua; JSON null is a value of its own, nil would drop the key.
            return self._to_lua(json.loads(str(text).encode("latin-1"), parse_int=float))
        except (ValueError, RecursionError) as problem:
            return None, str(problem)

    def encode(self, value: LuaValue) -> LuaValue:
        """Return the text; nil and a message for what has no JSON form."""
        try:
            return self._text(value)
        except (ValueError, RecursionError) as problem:
            return None, str(problem)

    def _to_lua(self, value: LuaValue) -> LuaValue:
        if isinstance(value, dict):
            return self._lua.table_from({bytes_text(k): self._to_lua(v) for k, v in value.items()})
        if isinstance(value, list):
            return self._lua.table_from([self._to_lua(member) for member in value])
        if isinstance(value, str):
            return bytes_text(value)
        return self.null if value is None else value

    def _text(self, value: LuaValue) -> str:
        if value is None or self._same(value, self.null):
            return "null"
        if self._same(value, self.empty_array):
            return "[]"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return f"{value:.{PRECISION}g}"
        if isinstance(value, str):
            return '"' + TO_ESCAPE.sub(lambda m: ESCAPES.get(m[0], f"\\u{ord(m[0]):04x}"), value) + '"'
        if self._type(value) != "table":
            raise ValueError(f"Cannot serialise {self._type(value)}: type not supported")
        return self._table(value)

    def _table(self, table: LuaValue) -> str:
        items = list(table.items())
        keys = [key for key, _ in items]
        if keys and all(isinstance(key, int) and key > 0 for key in keys):
            size = max(keys)
            if size > SPARSE_SAFE and size > len(keys) * SPARSE_RATIO:
                raise ValueError("Cannot serialise table: excessively sparse array")
            return "[" + ",".join(self._text(table[i]) for i in range(1, size + 1)) + "]"
        if not keys and self._same(self._metatable(table), self.array_mt):
            return "[]"
        for key in keys:
            if not isinstance(key, str | int | float) or isinstance(key, bool):
                raise ValueError("Cannot serialise table: table key must be a number or string")
        return "{" + ",".join(f"{self._text(str(key))}:{self._text(member)}" for key, member in items) + "}"
