"""Runs the Lua of pre-function and post-function with LuaJIT, in the sandbox Kong puts it in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

try:
    from lupa import luajit21 as luajit
except ImportError:  # Debian builds lupa with one Lua, which is LuaJIT
    from lupa import lua as luajit

from .exchange import ExitError, PluginError
from .lua_json import LuaValue, bytes_text
from .pdk import Pdk

if TYPE_CHECKING:
    from .exchange import Exchange

# What Kong 3.9's sandbox gives to untrusted Lua, besides `kong`, `ngx` and `require`.
SANDBOX = """
local names = [[_VERSION assert error ipairs next pairs pcall select tonumber tostring type unpack xpcall]]
local modules = {
  coroutine = [[create resume running status wrap yield]],
  math = [[abs acos asin atan atan2 ceil cos cosh deg exp fmod floor frexp huge ldexp log log10 max min modf
           pi pow rad random sin sinh sqrt tan tanh]],
  os = [[clock date difftime time]],
  string = [[byte char find format gmatch gsub len lower match rep reverse sub upper]],
  table = [[concat insert maxn remove sort]],
}
local function protected(members, name)
  return setmetatable({}, { __index = members, __newindex = function(_, key)
    error("Can not modify " .. name .. "." .. key .. ". Protected by the sandbox.")
  end })
end
local function base()
  local env = {}
  for name in names:gmatch("%S+") do env[name] = _G[name] end
  for module, list in pairs(modules) do
    local members = {}
    for name in list:gmatch("%S+") do members[name] = _G[module][name] end
    env[module] = protected(members, module)
  end
  return env
end
return function(text, sandboxed, kong, ngx, allowed)
  local chunk, problem = loadstring(text)
  if not chunk then return nil, problem end
  local env = sandboxed and base() or setmetatable({}, { __index = _G })
  env._G, env.kong, env.ngx = env, kong, ngx
  env.require = function(name)
    local module = allowed(name)
    if module == nil then error("require '" .. name .. "' not allowed within sandbox") end
    return module
  end
  setfenv(chunk, env)
  -- A chunk that returns a function is run once; the function is what runs from then on.
  local first = true
  return function()
    if not first then chunk() return end
    first = false
    local result = chunk()
    if type(result) == "function" then
      chunk = result
      chunk()
    end
  end
end
"""


def hide(_object: object, _name: str, _is_setting: bool) -> str:
    """Keep Lua from looking into Python objects."""
    raise AttributeError("not for Lua")


def new_runtime() -> LuaValue:
    """Return a LuaJIT whose strings are bytes: one character each."""
    return luajit.LuaRuntime(
        encoding="latin-1", unpack_returned_tuples=True, register_eval=False, attribute_filter=hide
    )


def syntax_problem(text: str) -> str | None:
    """Return why this is not Lua, or None."""
    lua = new_runtime()
    loaded = lua.eval("loadstring")(bytes_text(text))
    return str(loaded[1]) if isinstance(loaded, tuple) else None


class Functions:
    """Compiled functions of the loaded configuration."""

    def __init__(self, *, sandboxed: bool, requires: Iterable[str]) -> None:
        """Prepare a runtime; `requires` are the modules a sandboxed function may load."""
        self._lua = new_runtime()
        self._compile = self._lua.execute(SANDBOX)
        self._pdk = Pdk(self._lua)
        self._sandboxed, self._requires = sandboxed, frozenset(requires)
        self._compiled: dict[int, list[LuaValue]] = {}
        self._texts: list[list[str]] = []  # keeps the keys of _compiled alive

    def run(self, exchange: Exchange, texts: list[str], phase: str) -> None:
        """Run a phase's functions. Raises ExitError if one answered, PluginError if one failed."""
        exchange.phase = phase
        self._pdk.exchange = exchange
        try:
            for function in self._functions(texts):
                function()
        except ExitError:
            raise
        except (luajit.LuaError, TypeError, ValueError, AttributeError) as problem:
            raise PluginError(str(problem)) from None
        finally:
            self._pdk.exchange = None

    def _functions(self, texts: list[str]) -> list[LuaValue]:
        if id(texts) not in self._compiled:
            self._texts.append(texts)
            self._compiled[id(texts)] = [self._function(text) for text in texts]
        return self._compiled[id(texts)]

    def _function(self, text: str) -> LuaValue:
        made = self._compile(bytes_text(text), self._sandboxed, self._pdk.kong, self._pdk.ngx, self._module)
        if isinstance(made, tuple):
            raise PluginError(str(made[1]))
        return made

    def _module(self, name: str) -> LuaValue:
        if self._sandboxed and name not in self._requires:
            return None
        return self._pdk.modules.get(name)
