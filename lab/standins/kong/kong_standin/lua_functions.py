"""Runs the Lua of pre-function and post-function with LuaJIT, in the sandbox Kong puts it in."""

from collections.abc import Iterable

try:
    from lupa import luajit21 as luajit
except ImportError:  # Debian builds lupa with one Lua, which is LuaJIT
    from lupa import lua as luajit

from .exchange import Exchange, PluginError
from .pdk import LuaValue, Pdk, bytes_text

# What Kong 3.9's sandbox gives to untrusted Lua; it also has more of math, coroutine, and safe parts of os.
SANDBOX = """
local names = [[_VERSION assert error ipairs next pairs pcall select tonumber tostring type unpack xpcall]]
local modules = {
  math = [[max min]],
  string = [[byte char find format gmatch gsub len lower match rep reverse sub upper]],
  table = [[concat insert maxn remove sort]],
}
local function protected(members, name)
  return setmetatable({}, { __index = members, __newindex = function(_, key)
    error("Can not modify " .. name .. "." .. key .. ". Protected by the sandbox.")
  end })
end
return function(text, kong, ngx, allowed)
  local chunk, problem = loadstring(text)
  if not chunk then return nil, problem end
  local env = { kong = kong, ngx = ngx }
  env._G = env
  for name in names:gmatch("%S+") do env[name] = _G[name] end
  for module, list in pairs(modules) do
    local members = {}
    for name in list:gmatch("%S+") do members[name] = _G[module][name] end
    env[module] = protected(members, module)
  end
  env.require = function(name)
    return allowed(name) or error("require '" .. name .. "' not allowed within sandbox")
  end
  setfenv(chunk, env)
  return function()
    assert(chunk() == nil, "a chunk that returns a function is not in the stand-in for Kong")
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
    loaded = new_runtime().eval("loadstring")(bytes_text(text))
    return str(loaded[1]) if isinstance(loaded, tuple) else None


class Functions:
    """Compiled functions of the loaded configuration."""

    def __init__(self, requires: Iterable[str]) -> None:
        """Prepare a runtime; `requires` are the modules a function may load."""
        lua = new_runtime()
        self._compile, self._pdk = lua.execute(SANDBOX), Pdk(lua)
        self._requires = frozenset(requires)
        self._compiled: dict[str, LuaValue] = {}

    def run(self, exchange: Exchange, texts: Iterable[str], phase: str) -> None:
        """Run a phase's functions. Raises ExitError if one answered, PluginError if one failed."""
        exchange.phase = phase
        self._pdk.exchange = exchange
        try:
            for text in texts:
                self._function(text)()
        except (luajit.LuaError, TypeError, ValueError, AttributeError) as problem:
            raise PluginError(str(problem)) from None

    def _function(self, text: str) -> LuaValue:
        if text not in self._compiled:
            kong, ngx = self._pdk.tables["kong"], self._pdk.tables["ngx"]
            self._compiled[text] = self._compile(bytes_text(text), kong, ngx, self._module)
        return self._compiled[text]

    def _module(self, name: str) -> LuaValue:
        return self._pdk.tables.get(name) if name in self._requires else None
